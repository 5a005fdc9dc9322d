import type { HandlerConfig } from "./config.ts";
import { choice, optionalPath, options, type Section, text } from "./setting.ts";

/** The settings of a handler for its containerd shim. */
export const shim: Section<
  Pick<HandlerConfig, "runtimeType" | "runtimePath" | "ioType" | "options">
> = {
  runtimeType: text({
    default: "",
    pattern: /^$|^\/\S+$|^[a-z0-9][\w-]*(\.[\w-]+)+$/,
    allowed:
      'the name of a shim, such as "io.containerd.runc.v2", its absolute path, or "" for none',
    doc: 'The containerd shim that runs containers, such as "io.containerd.runc.v2". Mutually exclusive with path.',
  }),
  runtimePath: optionalPath({
    default: "",
    doc: "Path of the shim's program, if it is not the one on PATH that runtime_type names.",
  }),
  ioType: choice({
    of: ["fifo", "streaming"],
    default: "fifo",
    doc: 'How containers of the shim get their streams: "fifo" (named pipes), or "streaming" (containerd\'s streaming API at the shim\'s socket) for shims that need it.',
  }),
  options: options({
    default: {},
    doc: "Options that are passed to the shim unchanged.",
  }),
};
