import { addon, callNative, type NativeWatch } from "../addon.ts";

interface Calls {
  seccompReceive(watch: NativeWatch): readonly [fd: number, text: string] | null;
  seccompNext(
    watch: NativeWatch,
  ): readonly [id: bigint, arch: number, number: number] | null | false;
  seccompDeny(watch: NativeWatch, id: bigint, errno: number): void;
}

const calls = (): Calls => addon() as Calls;

// All calls here run on the main thread and never wait.

/** The descriptor of a filter and the JSON of its process, from an OCI runtime; undefined if they are not here yet. */
export function receiveFilter(
  watch: NativeWatch,
): { readonly fd: number; readonly text: string } | undefined {
  const received = callNative(() => calls().seccompReceive(watch), "receive a seccomp filter");
  return received === null ? undefined : { fd: received[0], text: received[1] };
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
