import { arch } from "node:process";

import { messageOf, RuntimeError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { SandboxClient } from "./client.ts";

/** The platform of a sandbox as its sandboxer reports it, in Go's names. Fields that it does not report are absent. */
export interface SandboxPlatform {
  readonly os?: string;
  readonly architecture?: string;
  readonly variant?: string;
}

/** This host's processor in Go's names, which sandboxers use. */
const hostArchitecture = ({ x64: "amd64", ia32: "386" } as Partial<Record<string, string>>)[arch];

/**
 * Asks for the platform of a sandbox. Undefined if the sandboxer does not report it: it does not implement the call,
 * does not answer in time, or returns an empty answer.
 */
export async function askPlatform(
  sandboxer: SandboxClient,
  id: string,
  deps: { readonly log: Logger; readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<SandboxPlatform | undefined> {
  const { log, signal, timeoutMs } = deps;
  try {
    const answer = await sandboxer.platform(id, { signal, timeoutMs });
    const { os = "", architecture = "", variant = "" } = answer ?? {};
    const reported = Object.entries({ os, architecture, variant }).filter(
      ([, text]) => text !== "",
    );
    return reported.length === 0 ? undefined : Object.fromEntries(reported);
  } catch (error) {
    if (signal.aborted) throw error;
    log.debug(`failed to get platform of sandbox "${id}": ${messageOf(error)}`, { sandbox: id });
    return undefined;
  }
}

/**
 * Refuses a sandbox that cannot run Linux containers: `failed-precondition`. The default of a field
 * that is not reported is the host's value. Another processor is not refused, as it may be emulated.
 */
export function checkPlatform(
  id: string,
  platform: SandboxPlatform | undefined,
  log: Logger,
): void {
  const { os, architecture } = platform ?? {};
  if (os !== undefined && os.toLowerCase() !== "linux") {
    throw new RuntimeError(
      "failed-precondition",
      `start sandbox "${id}": its sandboxer says that it runs ${JSON.stringify(os)}, and davit makes containers for linux; use another handler`,
    );
  }
  const host = hostArchitecture ?? arch;
  if (architecture === undefined || architecture === host) return;
  log.warn(
    `sandbox "${id}" says that it runs ${JSON.stringify(architecture)}, and images are pulled for ${host}`,
    { sandbox: id },
  );
}
