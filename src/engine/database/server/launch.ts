/**
 * `twinsite internal postgres`: a process that turns into PostgreSQL. Started as root it first becomes
 * the server's own user; then it ties its life to ours, so that nothing of a killed site lives on.
 */
import { dlopen, FFIType, ptr } from 'bun:ffi';
import { z } from 'zod';

const PR_SET_PDEATHSIG = 1;
const PR_SET_SECUREBITS = 28;
/** Neither the change of user nor access(2), which the server asks first, sets capabilities aside. */
const SECBIT_NO_SETUID_FIXUP = 4;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_RAISE = 2;
const CAP_DAC_READ_SEARCH = 2;
const CAPABILITY_VERSION_3 = 0x20080522;
const SIG_SETMASK = 2;
const SIG_DFL = 0;
/** A graceless but safe end: every backend stops at once, the next start replays the log. */
const SIGQUIT = 3;
/** HUP INT QUIT PIPE ALRM TERM CHLD XFSZ: an ignored signal would stay ignored across exec. */
const SIGNALS = [1, 2, SIGQUIT, 13, 14, 15, 17, 25];
const CLOSE_RANGE_CLOEXEC = 4;

const ARGUMENTS = z.strictObject({
  parent: z.int().min(1),
  uid: z.int().min(1).optional(),
  gid: z.int().min(1).optional(),
  /** Keep the right to pass through directories that the user could not enter. */
  readSearch: z.boolean(),
  argv: z.array(z.string().regex(/^[^\0]*$/)).min(1),
});

export type LaunchArguments = z.infer<typeof ARGUMENTS>;

/** The arguments of `internal postgres` for these wishes. */
export function launchArguments(wishes: LaunchArguments): string[] {
  return ['postgres', JSON.stringify(wishes)];
}

function openLibc() {
  const { i32, u32, u64, ptr: pointer } = FFIType;
  return dlopen('libc.so.6', {
    setgroups: { args: [u64, pointer], returns: i32 },
    setresgid: { args: [u32, u32, u32], returns: i32 },
    setresuid: { args: [u32, u32, u32], returns: i32 },
    prctl: { args: [i32, u64, u64, u64, u64], returns: i32 },
    capset: { args: [pointer, pointer], returns: i32 },
    getppid: { args: [], returns: i32 },
    sigemptyset: { args: [pointer], returns: i32 },
    sigprocmask: { args: [i32, pointer, pointer], returns: i32 },
    signal: { args: [i32, u64], returns: u64 },
    syscall: { args: [u64, u64, u64, u64], returns: i32 },
    execve: { args: [pointer, pointer, pointer], returns: i32 },
  }).symbols;
}

type Libc = ReturnType<typeof openLibc>;

function must(result: number, call: string): void {
  if (result !== 0) throw new Error(`${call} failed; PostgreSQL was not started`);
}

/** Becomes the user, for good; with readSearch only CAP_DAC_READ_SEARCH survives, also across exec. */
function dropPrivileges(libc: Libc, uid: number, gid: number, readSearch: boolean): void {
  must(libc.setgroups(0, null), 'setgroups');
  must(libc.setresgid(gid, gid, gid), 'setresgid');
  if (readSearch) {
    must(libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0), 'prctl(SECUREBITS)');
  }
  must(libc.setresuid(uid, uid, uid), 'setresuid');
  if (!readSearch) return;
  const bit = 1 << CAP_DAC_READ_SEARCH;
  const header = new Uint32Array([CAPABILITY_VERSION_3, 0]);
  // effective, permitted, inheritable for capabilities 0 to 31, then for the rest
  const sets = new Uint32Array([bit, bit, bit, 0, 0, 0]);
  must(libc.capset(ptr(header), ptr(sets)), 'capset');
  must(
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0),
    'prctl(AMBIENT)',
  );
}

function cStrings(texts: readonly string[]): { pointers: BigUint64Array; keep: Uint8Array[] } {
  const keep = texts.map((text) => new TextEncoder().encode(`${text}\0`));
  const pointers = new BigUint64Array(keep.length + 1);
  for (const [index, bytes] of keep.entries()) pointers[index] = BigInt(ptr(bytes));
  return { pointers, keep };
}

function becomeServer(libc: Libc, wishes: LaunchArguments): void {
  if (wishes.uid !== undefined && wishes.gid !== undefined) {
    dropPrivileges(libc, wishes.uid, wishes.gid, wishes.readSearch);
  }
  // After the change of user, which clears it.
  must(libc.prctl(PR_SET_PDEATHSIG, SIGQUIT, 0, 0, 0), 'prctl(PDEATHSIG)');
  // A parent that died before that line sends nothing any more.
  if (libc.getppid() !== wishes.parent) throw new Error('the parent is gone');
  const mask = new Uint8Array(128);
  must(libc.sigemptyset(ptr(mask)), 'sigemptyset');
  must(libc.sigprocmask(SIG_SETMASK, ptr(mask), null), 'sigprocmask');
  for (const signal of SIGNALS) libc.signal(signal, SIG_DFL);
  const SYS_CLOSE_RANGE = 436;
  libc.syscall(SYS_CLOSE_RANGE, 3, 0xffffffff, CLOSE_RANGE_CLOEXEC);
  const argv = cStrings(wishes.argv);
  const environment = cStrings(
    Object.entries(process.env).map(([name, value]) => `${name}=${value ?? ''}`),
  );
  const program = argv.keep[0];
  if (!program) throw new Error('nothing to start');
  libc.execve(ptr(program), ptr(argv.pointers), ptr(environment.pointers));
  throw new Error(`cannot execute ${wishes.argv[0]}`);
}

/** Does not return when all is well: this process is PostgreSQL then. Otherwise the exit code. */
export async function runPostgresLauncher(args: readonly string[]): Promise<number> {
  try {
    becomeServer(openLibc(), ARGUMENTS.parse(JSON.parse(args[0] ?? '')));
    return 1;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}
