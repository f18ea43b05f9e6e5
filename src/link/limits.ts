/** Every bound of the link. Bytes and milliseconds. */

export const MAX_IDENTITY_FILE_BYTES = 64 * 1024;

// Frames
/** A frame's payload; a longer announced length breaks the lane. */
export const MAX_FRAME_BYTES = 1024 * 1024;
/** Data is sent in pieces of this size, so that control frames never wait long. */
export const DATA_PIECE_BYTES = 256 * 1024;
/** Longer payloads go to the socket as they are. */
export const COPY_BELOW_BYTES = 32 * 1024;
export const MAX_HELLO_BYTES = 16 * 1024;
export const MAX_HEADER_BYTES = 64 * 1024;
/** Accept, refuse, abort, ping. */
export const MAX_CONTROL_BYTES = 8 * 1024;
export const MAX_REASON_CHARS = 1000;

// Exchanges
/** Received and not yet consumed; beyond it the socket is paused. */
export const RECEIVE_BUFFER_BYTES = 1024 * 1024;
/** A paused socket is read again below this. */
export const RECEIVE_RESUME_BYTES = 256 * 1024;
/** What an exchange's owner left unread after its end is thrown away up to this, then it is broken. */
export const MAX_DISCARD_BYTES = 1024 * 1024;
export const MAX_RPC_BYTES = 8 * 1024 * 1024;
export const MAX_PURPOSE_CHARS = 100;
/** An abort frame may take this long to leave; then the connection is cut. */
export const ABORT_FLUSH_MS = 250;

// Lanes
export const MAX_DIALED_LANES = 48;
/** Of these, for transfers of bytes; the rest is for heartbeats, questions and the database. */
export const MAX_BULK_LANES = 32;
export const MAX_IDLE_LANES = 16;
export const IDLE_LANE_MS = 60_000;
export const MAX_CONCURRENT_DIALS = 8;
export const MAX_WAITING_OPENERS = 1024;
export const DIAL_TIMEOUT_MS = 5_000;
/** One address of several gets at least this much of the dial's time. */
export const MIN_ADDRESS_MS = 1_000;
export const DIAL_BACKOFF_MS = 200;
export const HELLO_TIMEOUT_MS = 5_000;
/** Connections that have not shown who they are. */
export const MAX_STRANGERS = 64;
/** Lanes the peer may hold here: its own bound twice, because it may have restarted. */
export const MAX_ACCEPTED_LANES = 2 * MAX_DIALED_LANES;

// Liveness of a lane
export const LANE_TICK_MS = 1_000;
/** Sends a ping when nothing else was sent for this long. */
export const LANE_PING_MS = 5_000;
/** A lane on which nothing was heard for this long is dead, unless this side stopped reading. */
export const LANE_DEAD_MS = 20_000;
export const TCP_KEEPALIVE_MS = 10_000;
/** Handlers get this long to end after the service was stopped. */
export const STOP_GRACE_MS = 2_000;

// Telling
export const MAX_REMEMBERED_FAILURES = 256;
export const EXPIRY_ALARM_DAYS = 60;
export const EXPIRY_CHECK_MS = 60_000;
