/** What a site without a peer says where a pair would speak of two. */
import type { Attestor } from '../../core/ports.ts';

/** Nobody is there to attest; every receipt is `local`. */
export const attestNobody: Attestor = {
  attest: () => Promise.resolve(false),
  isAnswering: () => false,
};
