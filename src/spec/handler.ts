import { withBase } from "./base-spec.ts";
import { withHooks } from "./hooks.ts";
import type { SpecInput } from "./input.ts";
import type { OciMount, OciSpec } from "./runtime-spec.ts";

/** What the handler of a container adds to its spec: base, hooks, a writable view of its cgroups. */
export function withHandler(
  spec: OciSpec,
  input: Pick<SpecInput, "base" | "hooks" | "cgroupWritable" | "config" | "sandbox" | "host">,
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
  // On v1 there is no cgroup namespace that would keep a container to its own.
  const isWritable = input.cgroupWritable === true && input.host.cgroupVersion === 2;
  return {
    ...based,
    ...(isWritable ? { mounts: based.mounts.map(writableCgroups) } : {}),
    ...(hooks === undefined ? {} : { hooks }),
  };
}

function writableCgroups(mount: OciMount): OciMount {
  if (mount.type !== "cgroup") return mount;
  return { ...mount, options: mount.options.map((option) => (option === "ro" ? "rw" : option)) };
}
