import { addon, callNative, type NativeWatch } from "../addon.ts";

interface Calls {
  seccompReceive(watch: NativeWatch): readonly [fd: number, bytes: Buffer] | null;
  seccompNext(
    watch: NativeWatch,
  ): readonly [id: bigint, arch: number, number: number] | null | false;
  seccompDeny(watch: NativeWatch, id: bigint, errno: number): void;
}

const calls = (): Calls => addon() as Calls;

// All calls here run on the main thread and never wait.

/**
 * A piece of the JSON of a process, from an OCI runtime, with the descriptor of its filter in one of them; undefined if
 * there is none now. ECONNRESET: the peer closed the socket. EMFILE: the descriptor is lost.
 */
export function receiveFilter(
  watch: NativeWatch,
): { readonly fd: number | undefined; readonly bytes: Buffer } | undefined {
  const received = callNative(() => calls().seccompReceive(watch), "receive a seccomp filter");
  if (received === null) return undefined;
  const [fd, bytes] = received;
  return { fd: fd < 0 ? undefined : fd, bytes };
}

/** A call that waits: its id, AUDIT_ARCH_* and number. Undefined: none waits now; false: none ever will. */
export function nextCall(
  watch: NativeWatch,
): { readonly id: bigint; readonly arch: number; readonly number: number } | undefined | false {
  const next = callNative(() => calls().seccompNext(watch), "receive a system call");
  if (next === null) return undefined;
  return next === false ? false : { id: next[0], arch: next[1], number: next[2] };
}

/** Makes a call that waits fail with `errno`. A call that has ended is not an error. */
export function denyCall(watch: NativeWatch, id: bigint, errno: number): void {
  callNative(() => calls().seccompDeny(watch, id, errno), "answer a system call");
}
