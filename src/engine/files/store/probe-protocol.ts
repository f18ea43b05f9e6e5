/** What parent and probe child say to each other: one JSON object per line, one answer per question. */

export type ProbeRequest =
  /** Touches nothing: is the child up? */
  | { readonly id: number; readonly op: 'ping' }
  | {
      readonly id: number;
      readonly op: 'probe';
      /** The write test is made only in a store whose marker carries this id. */
      readonly writeIf: string | null;
      /** Tells two hosts' tests in one store apart. */
      readonly testName: string;
    }
  | { readonly id: number; readonly op: 'read-epoch' }
  | {
      readonly id: number;
      readonly op: 'write-epoch';
      readonly text: string;
      readonly writeIf: string;
    };

/** What a store looks like, before anything is believed about it. */
export interface StoreLook {
  /** Device and inode of the root, as decimal text. */
  readonly device: string;
  readonly inode: string;
  readonly sameDeviceAsRoot: boolean;
  readonly fileSystem: number;
  readonly freeBytes: number;
  readonly totalBytes: number;
  /** The marker's text; null when there is none. */
  readonly marker: string | null;
  /** A system code or sentence when the marker is there and cannot be read. */
  readonly markerError: string | null;
  /** Only looked at when there is no marker. */
  readonly empty: boolean;
  /** null: not tried (the marker was not the expected one); '' ok; else a system code. */
  readonly write: string | null;
}

export type ProbeAnswer =
  | { readonly id: number; readonly look: StoreLook }
  | { readonly id: number; readonly text: string | null }
  | { readonly id: number; readonly done: true }
  /** A system code, then a sentence. */
  | { readonly id: number; readonly code: string; readonly error: string };
