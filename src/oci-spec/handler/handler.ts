import { withBase } from "./base-spec.ts";
import { withCgroupMounts } from "./cgroup-mounts.ts";
import { withHooks } from "./hooks.ts";
import type { SpecInput } from "../input.ts";
import type { OciSpec } from "../../core/oci/index.ts";

/** What the handler of a container adds to its spec: base, hooks, a writable view of its cgroups. */
export function withHandler(
  spec: OciSpec,
  input: Pick<
    SpecInput,
    "base" | "hooks" | "cgroupWritable" | "cgroupDelegated" | "config" | "sandbox" | "host"
  >,
): OciSpec {
  const based = input.base === undefined ? spec : withBase(spec, input.base);
  const hooks =
    input.hooks === undefined
      ? based.hooks
      : withHooks(
          {
            spec: based,
            annotations: {
              ...based.annotations,
              ...input.sandbox.config.annotations,
              ...input.config.annotations,
            },
            hasBindMounts: input.config.mounts.length > 0,
          },
          input.hooks,
        );
  return withCgroupMounts({ ...based, ...(hooks === undefined ? {} : { hooks }) }, input);
}
