// The two ways to carry out a network, for tests that hold one beside the other.
import { patient } from "../../../../../test/support/patience.ts";
import { execOnHost } from "../../plugin-exec.ts";
import { PluginRunner } from "../../plugin-runner.ts";
import { BuiltinRunner } from "../runner.ts";

export const timeoutMs = patient(30_000);

export const builtin = new BuiltinRunner({ timeoutMs });

/** By the plugins of Debian's package. */
export const plugins = new PluginRunner({
  binDirs: ["/usr/lib/cni"],
  env: process.env,
  exec: execOnHost,
  timeoutMs,
});
