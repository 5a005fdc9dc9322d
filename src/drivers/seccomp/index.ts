// The seccomp notifier: denied system calls of containers that ask for it by an annotation are answered and reported by
// davit. Loaded with the first such container. Start with notifier.ts.
export { SeccompNotifier } from "./notifier.ts";
