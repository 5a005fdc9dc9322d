import { Signal } from "../gen/runtime/v1/api_pb.ts";

/** A signal by its number and one name for it. */
interface StopSignal {
  /** `SIGTERM`, `SIGRTMIN+3`, `SIGRTMAX-1`. */
  readonly name: string;
  readonly number: number;
}

/** The stop signal if neither request nor image has one. */
const defaultStopSignal: StopSignal = { name: "SIGTERM", number: 15 };

// signal(7): the numbers of x86 and ARM. Where a number has two names, the first one is ours.
const numbers: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGIOT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGSTKFLT: 16,
  SIGCHLD: 17,
  SIGCLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGVTALRM: 26,
  SIGPROF: 27,
  SIGWINCH: 28,
  SIGIO: 29,
  SIGPOLL: 29,
  SIGPWR: 30,
  SIGSYS: 31,
};

// The kernel's first real-time signal is 32; the C libraries keep two for themselves (nptl(7)).
const rtMin = 34;
const rtMax = 64;

/**
 * The signal that stops a container: the request's, else the image's, else SIGTERM.
 *
 * An image's text that names no signal counts as none: the image cannot be asked to fix it, and
 * its containers must be stoppable. `onUnknown` is called with it.
 */
export function stopSignal(
  requested: Signal,
  image: string,
  onUnknown: (text: string) => void,
): StopSignal {
  const asked = requested === Signal.RUNTIME_DEFAULT ? undefined : signalOfCri(requested);
  if (asked !== undefined) return asked;
  if (image === "") return defaultStopSignal;
  const known = parseSignal(image);
  if (known === undefined) onUnknown(image);
  return known ?? defaultStopSignal;
}

/**
 * The signal of a text as images have it (image-spec, config.md, StopSignal): `SIGTERM`, `term`,
 * `15`, `SIGRTMIN+3`, `RTMAX-1`. Undefined for anything else.
 */
export function parseSignal(text: string): StopSignal | undefined {
  const trimmed = text.trim().toUpperCase();
  if (/^[0-9]{1,2}$/.test(trimmed)) return signalOfNumber(Number(trimmed));
  const name = trimmed.startsWith("SIG") ? trimmed : `SIG${trimmed}`;
  const realTime = /^SIGRT(MIN|MAX)([+-][0-9]{1,2})?$/.exec(name);
  if (realTime !== null) {
    const number = (realTime[1] === "MIN" ? rtMin : rtMax) + Number(realTime[2] ?? 0);
    return number < rtMin || number > rtMax ? undefined : signalOfNumber(number);
  }
  const number = Object.hasOwn(numbers, name) ? numbers[name] : undefined;
  return number === undefined ? undefined : signalOfNumber(number);
}

function signalOfNumber(number: number): StopSignal | undefined {
  if (number >= rtMin && number <= rtMax) return { name: realTimeName(number), number };
  const known = Object.entries(numbers).find(([, value]) => value === number);
  return known === undefined ? undefined : { name: known[0], number };
}

/** The names of the CRI's enum: from the lower end up to the middle, from the upper end below it. */
function realTimeName(number: number): string {
  if (number <= rtMin + 15) return number === rtMin ? "SIGRTMIN" : `SIGRTMIN+${number - rtMin}`;
  return number === rtMax ? "SIGRTMAX" : `SIGRTMAX-${rtMax - number}`;
}

/** The signal of a value of the CRI's enum; undefined for RUNTIME_DEFAULT and values that it lacks. */
export function signalOfCri(value: Signal): StopSignal | undefined {
  const name = Object.entries(Signal).find(([, known]) => known === value)?.[0];
  return name === undefined
    ? undefined
    : parseSignal(name.replace("PLUS", "+").replace("MINUS", "-"));
}
