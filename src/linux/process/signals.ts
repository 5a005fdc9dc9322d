// Signal numbers of Linux on every architecture that davit supports (signal(7)).
export const SIGHUP = 1;
export const SIGKILL = 9;
export const SIGTERM = 15;
export const SIGCONT = 18;
export const SIGSTOP = 19;
