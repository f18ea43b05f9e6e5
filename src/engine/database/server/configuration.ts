/** The server's configuration, written anew at every start. ALTER SYSTEM stays with whoever used it. */

const MIB = 2 ** 20;
const GIB = 2 ** 30;

export interface ServerConfiguration {
  readonly socketDirectory: string;
  /** Free on the disk of the cluster, and what its write-ahead log takes already. */
  readonly freeDiskBytes: number;
  readonly memoryBytes: number;
  readonly major: number;
  /** POSIX shared memory needs a writable /dev/shm, which a bare chroot lacks. */
  readonly hasDevShm: boolean;
}

/** What the slots of an absent peer may keep: a quarter of the free disk, at least 2 GiB. */
export function walKeepLimitBytes(freeDiskBytes: number): number {
  return Math.max(2 * GIB, Math.floor(freeDiskBytes / 4));
}

/** 1/64 of the memory, between 64 and 128 MiB: deposits are read by key, not scanned. */
export function sharedBuffersBytes(memoryBytes: number): number {
  return Math.min(128 * MIB, Math.max(64 * MIB, Math.floor(memoryBytes / 64)));
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}

/** One directory of a list: in double quotes, since a comma would separate. */
function quotedDirectory(directory: string): string {
  return quoted(`"${directory.replaceAll('"', '""')}"`);
}

/** postgresql.conf. */
export function renderConfiguration(options: ServerConfiguration): string {
  const settings: Record<string, string> = {
    listen_addresses: "''",
    port: '5432',
    unix_socket_directories: quotedDirectory(options.socketDirectory),
    unix_socket_permissions: '0700',
    max_connections: '40',

    // What a receipt stands on.
    fsync: 'on',
    full_page_writes: 'on',
    synchronous_commit: 'on',
    wal_level: 'logical',
    max_slot_wal_keep_size: `${Math.floor(walKeepLimitBytes(options.freeDiskBytes) / MIB)}MB`,
    max_wal_size: '1GB',
    min_wal_size: '80MB',
    checkpoint_timeout: '15min',

    // Both ends of a silent link let go before the peer is given up for lost (5 s and more).
    wal_sender_timeout: '4s',
    wal_receiver_timeout: '4s',
    wal_retrieve_retry_interval: '500ms',
    wal_receiver_status_interval: '1s',
    max_wal_senders: '12',
    max_replication_slots: '12',
    max_logical_replication_workers: '8',
    max_sync_workers_per_subscription: '2',
    max_worker_processes: '16',
    track_commit_timestamp: 'on',

    shared_buffers: `${Math.floor(sharedBuffersBytes(options.memoryBytes) / MIB)}MB`,
    dynamic_shared_memory_type: options.hasDevShm ? 'posix' : 'sysv',
    huge_pages: 'off',
    jit: 'off',
    max_parallel_workers: '2',
    max_parallel_workers_per_gather: '0',

    timezone: "'UTC'",
    log_timezone: "'UTC'",
    lc_messages: "'C'",
    default_text_search_config: "'pg_catalog.simple'",
    log_destination: "'stderr'",
    logging_collector: 'off',
    log_line_prefix: "'%p|%b|%e|'",
    log_checkpoints: 'off',
    // Statements carry what depositors sent; they stay out of logs.
    log_min_error_statement: 'panic',
    log_parameter_max_length_on_error: '0',
  };
  if (options.major >= 18) settings['max_active_replication_origins'] = '12';
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
  return `# Written by Twinsite at every start: changes here are lost.\n${lines.join('\n')}\n`;
}

/** pg_hba.conf: whoever may enter the socket's directory (0700) may connect, and nobody else can. */
export const HBA_CONFIGURATION = `# Written by Twinsite at every start: changes here are lost.
local all all trust
local replication all trust
`;
