import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { isKind, RuntimeError, wrap } from "../../base/errors.ts";
import { SystemError } from "../../base/system-error.ts";
import type { EgressLimits, EgressRequest } from "../../core/network/index.ts";
import { run } from "../../linux/process/index.ts";
import { nameServersIn, restoreInput } from "./rules.ts";

const restoreMs = 10_000;
// Others on the node may hold the lock of iptables-legacy.
const lockSeconds = 5;
const programs = { 4: "iptables-restore", 6: "ip6tables-restore" } as const;
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

interface Deps {
  /** Where the programs are looked up; the directories of the system if not given. */
  readonly searchPath?: string;
  /** Whether the kernel has IPv6. */
  readonly hasIpv6?: () => boolean;
}

/**
 * Egress limits by iptables-restore and ip6tables-restore in the pod's network namespace: one transaction for each
 * family. Both are required unless the kernel has no IPv6, since a pod can get IPv6 addresses at any time.
 */
export class IptablesEgress implements EgressLimits {
  readonly #path: string;
  readonly #hasIpv6: () => boolean;

  constructor(deps: Deps = {}) {
    this.#path = deps.searchPath ?? searchPath;
    this.#hasIpv6 = deps.hasIpv6 ?? (() => existsSync("/proc/sys/net/ipv6"));
  }

  async limit(request: EgressRequest, signal: AbortSignal): Promise<void> {
    const { rules, resolvConf } = request;
    const usesDns = rules.some(({ to }) => to === "dns");
    const servers =
      usesDns && resolvConf !== undefined ? nameServersIn(await readFile(resolvConf, "utf8")) : [];
    const families = this.#hasIpv6() ? ([6, 4] as const) : ([4] as const);
    // None of them runs any more when this returns: an undo closes the namespace.
    const results = await Promise.allSettled(
      families.map((family) =>
        this.#restore(family, restoreInput(family, rules, servers), request, signal),
      ),
    );
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  async #restore(
    family: 4 | 6,
    input: string,
    { netnsPath, sandboxId }: EgressRequest,
    signal: AbortSignal,
  ): Promise<void> {
    const program = programs[family];
    const doing = `limit the egress of sandbox "${sandboxId}" by ${program}`;
    const { code, stderr } = await run({
      file: program,
      args: ["--noflush", "--wait", String(lockSeconds)],
      env: { PATH: this.#path, LC_ALL: "C" },
      input,
      joinNamespaces: [netnsPath],
      killGroup: true,
      timeoutMs: restoreMs,
      signal,
    }).catch((error: unknown) => {
      // Another file that is missing, such as the namespace, has the code of a system call.
      const isMissing = isKind(error, "not-found") && !(error instanceof SystemError);
      throw isMissing ? missing(doing) : wrap(doing, error);
    });
    if (code === 0) return;
    const said = stderr.toString("utf8").trim().slice(0, 500);
    throw new RuntimeError(
      "failed-precondition",
      `${doing}: it failed with exit code ${code ?? "none"}: ${said}; the kernel needs conntrack and REJECT, or remove the annotation "davit.egress"`,
    );
  }
}

function missing(doing: string): RuntimeError {
  const text = `${doing}: the program is missing; install the package iptables, or remove the annotation "davit.egress"`;
  return new RuntimeError("failed-precondition", text);
}
