import { native, nativeError } from "../native.ts";

/**
 * Sends one datagram to the service manager that started this process, as sd_notify(3) describes
 * it: lines of `KEY=value`. Never waits.
 *
 * @param socket what NOTIFY_SOCKET says: a path, or "@" and a name in the abstract namespace
 * @throws SystemError: ENOENT or ECONNREFUSED when nobody listens, EAGAIN when its queue is full
 */
export function notifyService(socket: string, text: string): void {
  try {
    native().notifyService(socket, text);
  } catch (cause) {
    throw nativeError(cause, "notify service manager");
  }
}
