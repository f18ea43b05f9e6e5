/** Speaks to a running site over its admin socket: JSON over HTTP, problem+json for errors. */
import type { Command } from 'commander';
import { z } from 'zod';
import { ERROR_CODES, type ErrorCode } from '../../core/error-codes.ts';
import { AppError, describeError, systemCode } from '../../core/errors.ts';
import type { CommandContext } from '../command-shape.ts';
import { addServeFlags, flagValues } from '../serve-flags.ts';
import { findAdminSocket, reachableSocket } from './socket-path.ts';

export interface AdminRequest {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly body?: unknown;
  /** Null: as long as it takes. */
  readonly timeoutMs?: number | null;
}

const DEFAULT_TIMEOUT_MS = 15_000;
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

const problem = z.object({ code: z.string().max(100), detail: z.string().max(10_000) });

/** --data, --config and --site: which running site a command is for. */
export function addSiteFlags(command: Command): Command {
  return addServeFlags(command, ['data', 'config', 'site']);
}

export type AdminClient = (request: AdminRequest) => Promise<unknown>;

/** A client for the site that the command's flags mean. Throws AppError `not-running`, `usage`. */
export async function connectAdmin(
  command: Command,
  context: CommandContext,
): Promise<AdminClient> {
  const flags = flagValues(command);
  const socket = await findAdminSocket({ flags, env: context.env, cwd: context.cwd });
  return (request) => askAdmin(socket, request);
}

/** One request. A problem document becomes the AppError it was at the site. */
export async function askAdmin(socket: string, request: AdminRequest): Promise<unknown> {
  const { status, text } = await exchange(socket, request);
  const body = parseJson(text);
  if (status >= 200 && status < 300) return body;
  const told = problem.safeParse(body);
  if (!told.success) {
    throw new AppError('internal', `the site answered ${status} to ${request.path}. See its log`);
  }
  throw new AppError(knownCode(told.data.code), told.data.detail);
}

async function exchange(
  socket: string,
  request: AdminRequest,
): Promise<{ readonly status: number; readonly text: string }> {
  const timeoutMs = request.timeoutMs === undefined ? DEFAULT_TIMEOUT_MS : request.timeoutMs;
  try {
    await using reachable = await reachableSocket(socket);
    const response = await fetch(`http://twinsite${request.path}`, {
      unix: reachable.path,
      method: request.method,
      headers: { 'content-type': 'application/json' },
      ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
      ...(timeoutMs === null ? {} : { signal: AbortSignal.timeout(timeoutMs) }),
      // Bun's own limit of five minutes would end a long drain or sync.
      ...{ timeout: false },
    });
    const bytes = await response.arrayBuffer();
    if (bytes.byteLength > MAX_ANSWER_BYTES) throw new Error('the answer is too long');
    return { status: response.status, text: new TextDecoder().decode(bytes) };
  } catch (error) {
    throw translate(error, socket, timeoutMs);
  }
}

function translate(error: unknown, socket: string, timeoutMs: number | null): AppError {
  if (error instanceof AppError) return error;
  if (error instanceof DOMException && error.name === 'TimeoutError') {
    return new AppError(
      'internal',
      `the site did not answer within ${(timeoutMs ?? 0) / 1000} s at ${socket}. Look at its log; a hung disk or a paused process does that`,
    );
  }
  const code = systemCode(error) ?? '';
  if (/EACCES|EPERM/.test(code)) {
    return new AppError(
      'no-permission',
      `${socket} may not be used by this user. Run the command as root or as the user that runs Twinsite`,
    );
  }
  if (/ENOENT|ECONNREFUSED|FailedToOpenSocket|ConnectionRefused/.test(code)) {
    return new AppError(
      'not-running',
      `no running site answers at ${socket}. Start it with twinsite serve`,
    );
  }
  return new AppError(
    'internal',
    `the connection to the site broke: ${describeError(error)}. It may have been stopped; try again`,
  );
}

function parseJson(text: string): unknown {
  if (text.trim() === '') return null;
  try {
    return JSON.parse(text);
  } catch {
    throw new AppError('internal', 'the site answered something that is no JSON. See its log');
  }
}

function knownCode(code: string): ErrorCode {
  return code in ERROR_CODES ? (code as ErrorCode) : 'internal';
}
