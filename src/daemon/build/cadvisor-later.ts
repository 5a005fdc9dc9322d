import type { Config } from "../../config/config.ts";
import type { Cadvisor, openCadvisor as OpenCadvisor } from "./cadvisor.ts";

/** The socket for cAdvisor, before it is served. Its code is loaded when it begins, and only if it may be served. */
export function cadvisorOf(
  { cadvisor }: Config,
  parts: Omit<Parameters<typeof OpenCadvisor>[0], "config">,
): AsyncDisposable & {
  readonly begin: () => Promise<void>;
  readonly facts: () => Readonly<Record<string, unknown>>;
} {
  let opened: Cadvisor | undefined;
  return {
    async begin() {
      if (cadvisor.serve === "never") return;
      const { openCadvisor } = await import("./cadvisor.ts");
      opened = await openCadvisor({ ...parts, config: cadvisor });
    },
    facts: () => (opened === undefined ? {} : { cadvisor: opened.view() }),
    [Symbol.asyncDispose]: async () => opened?.[Symbol.asyncDispose](),
  };
}
