/** sd_notify(3): readiness, status and watchdog, as datagrams to the socket that systemd names. */
import { dlopen, FFIType, ptr } from 'bun:ffi';
import type { Clock } from '../core/ports.ts';
import type { Service } from '../core/service.ts';

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0x80000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const ADDRESS_MAX = 108;

export interface ServiceManager {
  /** READY=1: this site's own parts run. */
  ready(status: string): void;
  /** The line that `systemctl status` shows. */
  status(text: string): void;
  /** STOPPING=1. */
  stopping(): void;
  /** WATCHDOG=1 at half the interval that systemd asks for; ends with the signal. Null without a watchdog. */
  readonly watchdog: Service | null;
}

/** struct sockaddr_un; a leading @ is an abstract name. Null when it is too long. */
function address(name: string): Uint8Array | null {
  const isAbstract = name.startsWith('@');
  const bytes = new TextEncoder().encode(isAbstract ? `\0${name.slice(1)}` : `${name}\0`);
  if (bytes.length > ADDRESS_MAX) return null;
  const out = new Uint8Array(2 + bytes.length);
  out[0] = AF_UNIX;
  out.set(bytes, 2);
  return out;
}

function openSender(name: string): ((message: string) => void) | null {
  const to = address(name);
  if (to === null || !(name.startsWith('/') || name.startsWith('@'))) return null;
  const { symbols } = dlopen('libc.so.6', {
    socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
    sendto: {
      args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32, FFIType.ptr, FFIType.u32],
      returns: FFIType.i64,
    },
  });
  const fd = symbols.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return null;
  return (message) => {
    const bytes = new TextEncoder().encode(message);
    // A full or missing socket loses a notice, never the service.
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    symbols.sendto(fd, ptr(bytes), bytes.length, flags, ptr(to), to.length);
  };
}

/** Microseconds → milliseconds between two pings; null when no watchdog is meant for this process. */
function watchdogMs(env: Readonly<Record<string, string | undefined>>, pid: number): number | null {
  const forPid = env['WATCHDOG_PID'];
  const micros = Number(env['WATCHDOG_USEC'] ?? '');
  if (!Number.isFinite(micros) || micros <= 0) return null;
  if (forPid !== undefined && forPid !== String(pid)) return null;
  return Math.max(1, micros / 2_000);
}

/** Speaks to the service manager of `env`; everything is a no-op without NOTIFY_SOCKET. */
export function openServiceManager(options: {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
  readonly clock: Clock;
}): ServiceManager {
  const name = options.env['NOTIFY_SOCKET'];
  const send = name === undefined || name === '' ? null : openSender(name);
  const oneLine = (text: string): string => text.replaceAll(/[\r\n]+/g, ' ');
  const everyMs = send === null ? null : watchdogMs(options.env, options.pid);
  return {
    ready: (status) => send?.(`READY=1\nSTATUS=${oneLine(status)}\n`),
    status: (text) => send?.(`STATUS=${oneLine(text)}\n`),
    stopping: () => send?.('STOPPING=1\n'),
    watchdog:
      send === null || everyMs === null
        ? null
        : {
            name: 'watchdog',
            run: async ({ signal, ready }) => {
              ready();
              while (!signal.aborted) {
                send('WATCHDOG=1\n');
                await options.clock.sleep(everyMs, signal);
              }
            },
          },
  };
}
