import process from "node:process";
import type { Call } from "../command-line/command.ts";
import { UsageError } from "../command-line/usage-error.ts";
import type { Command } from "../command-line/command.ts";
import { imageOptions } from "./options.ts";
import { type ImageRequest, isRemovedByServer } from "./manifest.ts";
import { checkImageName, pathKind } from "./target.ts";

/** The request of `davit run IMAGE`. Throws a UsageError for options that exclude each other. */
export function readRequest(call: Call, command: Command): ImageRequest {
  const { options, operands } = call;
  const [image = "", ...words] = operands;
  checkImageName(image);
  const conflict = conflictOf(call);
  if (conflict !== undefined) throw new UsageError(conflict, command);
  const workdir = options.text("workdir");
  if (workdir !== undefined && !workdir.startsWith("/")) {
    const file =
      pathKind(workdir) === "file" ? "; to wait for the pods of a manifest, write --wait" : "";
    throw options.invalid("workdir", `is "${workdir}": must be an absolute path${file}`);
  }
  return { image, command: words, options, terminal: useTerminal(call) };
}

function conflictOf({ options }: Call): string | undefined {
  const network = options.text("network") ?? "bridge";
  if (options.has("publish") && network !== "bridge") {
    return network === "host"
      ? 'with "--network host" the ports of the container are those of the host: leave out --publish'
      : 'with "--network none" there is nothing to publish: leave out --publish';
  }
  if (isRemovedByServer(options) && options.has("wait")) {
    return '"--wait" with --rm waits for a pod that may be gone already: leave out one of them';
  }
  if (options.has("wait") && !options.has("detach")) {
    return '"--wait" requires --detach: otherwise davit run waits until the container exits';
  }
  return undefined;
}

/** The options that only images have, as far as the call has them. */
export function imageOptionsOf({ options }: Call): readonly string[] {
  return Object.keys(imageOptions).filter((name) => options.has(name));
}

/**
 * Whether the container gets a terminal. As in davit exec, it gets none if its stdin is not one: it would
 * never see the end of stdin.
 */
function useTerminal({ options, terminal }: Call): boolean {
  if (!options.has("tty")) return false;
  const usesStdin = options.has("interactive") && !options.has("detach");
  if (!usesStdin || process.stdin.isTTY || options.has("dry-run")) return true;
  terminal.err("davit run: stdin is not a terminal, so the container gets none\n");
  return false;
}
