/** The program's version and the numbers that two builds compare when they meet. */

declare const TWINSITE_VERSION: string | undefined;

/** Set by the build; `dev` when run from source. */
export const VERSION = typeof TWINSITE_VERSION === 'string' ? TWINSITE_VERSION : 'dev';
/** The peer protocol. A site refuses a peer more than one away. */
export const PROTOCOL = 1;
