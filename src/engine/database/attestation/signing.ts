/** Ed25519 over the statement's text, with the receipt keys of the pair's identity. */
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { AppError } from '../../../core/errors.ts';
import type { PairIdentity } from '../../../core/identity.ts';

/** Signs as this site; the signature is base64. Throws `identity-invalid` for an unusable key. */
export function createSigner(identity: PairIdentity): (text: string) => string {
  try {
    const key = createPrivateKey(identity.receiptKey);
    return (text) => sign(null, Buffer.from(text, 'utf8'), key).toString('base64');
  } catch (error) {
    throw new AppError('identity-invalid', 'The receipt key of the identity cannot be read.', {
      cause: error,
    });
  }
}

/** Checks the peer's signatures. Throws `identity-invalid` when its public key is missing or unusable. */
export function createPeerVerifier(
  identity: PairIdentity,
): (text: string, signature: string) => boolean {
  const pem = identity.receiptPublicKeys[identity.peer];
  if (pem === undefined) {
    throw new AppError('identity-invalid', `The identity has no receipt key of ${identity.peer}.`);
  }
  try {
    const key = createPublicKey(pem);
    return (text, signature) =>
      verify(null, Buffer.from(text, 'utf8'), key, Buffer.from(signature, 'base64'));
  } catch (error) {
    throw new AppError('identity-invalid', `The receipt key of ${identity.peer} cannot be read.`, {
      cause: error,
    });
  }
}
