import { maxTimerMs } from "../base/time.ts";
import type { ApplyOptions, RunOptions } from "./api/options.ts";
import { invalid } from "./explain.ts";

/**
 * Rejects what the reader of manifests would not say in terms of the options, or would not see. Programs in
 * JavaScript may pass anything.
 */
export function checkOptions(options: RunOptions): void {
  const { pids, command, args, env = {}, pull, network } = options;
  checkNumbers(options);
  check(pids === undefined || Number.isInteger(pids), `pids must be a whole number; it is ${pids}`);
  for (const [name, words] of Object.entries({ command, args })) {
    check(
      words === undefined || (Array.isArray(words) && words.every(isText)),
      `${name} must be a list of texts`,
    );
  }
  for (const [name, value] of Object.entries(env)) {
    check(isText(value), `env must have texts as values; that of ${name} is ${value}`);
  }
  check(
    pull === undefined || ["missing", "always", "never"].includes(pull),
    'pull must be "missing", "always" or "never"',
  );
  check(
    network === undefined ||
      (typeof network === "string"
        ? ["pod", "host", "none"].includes(network)
        : Array.isArray(network.allow)),
    'network must be "pod", "host", "none" or { allow: [...] }',
  );
}

/** Rejects a value of which it is not clear whether the pods stay. */
export function checkOnDisconnect({ onDisconnect }: Pick<ApplyOptions, "onDisconnect">): void {
  check(
    onDisconnect === undefined || ["remove", "keep"].includes(onDisconnect),
    'onDisconnect must be "remove" or "keep"',
  );
}

function checkNumbers({ cpus, pids, timeoutMs, readyTimeoutMs }: RunOptions): void {
  for (const [name, value] of Object.entries({ cpus, pids, timeoutMs, readyTimeoutMs })) {
    check(
      value === undefined || (Number.isFinite(value) && value > 0),
      `${name} must be a number above 0; it is ${value}`,
    );
  }
  for (const [name, value] of Object.entries({ timeoutMs, readyTimeoutMs })) {
    check(value === undefined || value <= maxTimerMs, `${name} must be at most ${maxTimerMs}`);
  }
}

function isText(value: unknown): boolean {
  return typeof value === "string";
}

function check(isValid: boolean, rule: string): void {
  if (!isValid) throw invalid(`run a container: option ${rule}`);
}
