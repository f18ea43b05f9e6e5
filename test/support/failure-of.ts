/** What a promise fails with; throws when it does not fail. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`did not fail: ${String(value)}`);
}
