/**
 * argv → command → exit code; nothing else. Children of ourselves (`internal …`) are told apart first,
 * so that a watcher does not load a server.
 */
async function main(): Promise<void> {
  const args = process.argv.slice(2);
  if (args[0] === 'internal') {
    const { runInternal } = await import('./cli/internal.ts');
    process.exitCode = await runInternal(args.slice(1));
    return;
  }
  const { runCommandLine } = await import('./cli/program.ts');
  process.exitCode = await runCommandLine(args);
}

await main();
