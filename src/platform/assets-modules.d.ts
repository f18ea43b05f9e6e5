/** Files that are part of the program: an import gives a path (`zst`) or the text (`sql`). */
declare module '*.zst' {
  const path: string;
  // biome-ignore lint/style/noDefaultExport: the bundler gives such a file as the default export
  export default path;
}
declare module '*.sql' {
  const text: string;
  // biome-ignore lint/style/noDefaultExport: the bundler gives such a file as the default export
  export default text;
}
declare module '*/build/assets/manifest.json' {
  const manifest: {
    readonly version: string;
    readonly postgres: { readonly hash: string };
    readonly cluster: { readonly hash: string };
  };
  // biome-ignore lint/style/noDefaultExport: the bundler gives such a file as the default export
  export default manifest;
}
