/** What davit does with a denied call. */
export type NotifierAction = "log" | "stop";

/** The annotations of CRI-O, the newer one first. */
const names = ["seccomp-notifier-action.crio.io", "io.kubernetes.cri-o.seccompNotifierAction"];

/**
 * What the annotations that a handler passes on ask for: "stop", or with any other value only a report, as with CRI-O.
 * Undefined without one.
 */
export function askedNotifier(
  annotations: Readonly<Record<string, string>>,
): NotifierAction | undefined {
  for (const name of names) {
    const value = annotations[name];
    if (value !== undefined) return value === "stop" ? "stop" : "log";
  }
  return undefined;
}
