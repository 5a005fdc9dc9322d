import { native } from "../native.ts";

/**
 * Ends this process at once (_exit(2)). process.exit() waits for the threads of libuv's pool, and one
 * that hangs in the kernel, on a dead network file system, say, would keep it forever. Nothing is
 * flushed, and nobody is told of the exit: for who has closed everything already.
 */
export function exitNow(code: number): never {
  return native().exitNow(code);
}
