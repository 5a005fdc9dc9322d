// System calls that a seccomp filter leaves to davit (seccomp_unotify(2)). Start with listener.ts.
export { type DeniedCall, SeccompFilter, SeccompListener } from "./listener.ts";
