/** The program as a child of itself. Not for people, hence not in --help. */

type Internal = (args: readonly string[]) => Promise<number>;

const COMMANDS: Readonly<Record<string, () => Promise<Internal>>> = {
  /** Becomes PostgreSQL: drops privileges, ties its life to the parent's, execs. */
  postgres: async () => (await import('../engine/database/server/launch.ts')).runPostgresLauncher,
  /** Watches one store and tells its parent on stdout. */
  watch: async () => (await import('../engine/files/watcher/child.ts')).runWatchChild,
  /** Probes one store on request. */
  probe: async () => (await import('../engine/files/store/probe-child.ts')).runProbeChild,
};

/** Returns the exit code. */
export async function runInternal(args: readonly string[]): Promise<number> {
  const [name = '', ...rest] = args;
  const load = COMMANDS[name];
  if (!load) {
    process.stderr.write(`twinsite: no internal command '${name}'\n`);
    return 2;
  }
  return (await load())(rest);
}
