import process from "node:process";
import { CriClient } from "../../client/cri-client.ts";
import type { Command } from "../command-line/command.ts";
import {
  candidatesFor,
  type Candidates,
  completeCommand,
  completionScript,
  shells,
} from "../command-line/completion.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { podName } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { shortId } from "../output/figures.ts";
import { chooseEndpoint } from "../server/endpoint.ts";
import type { Server } from "../server/session.ts";

// The user waits after pressing Tab: missing names are better than a long wait.
const tabMs = 1_000;

/** `davit completion`. */
export const completion: Command = {
  name: "completion",
  section: "Command line",
  summary: "Print the completion script for a shell",
  details:
    "The script completes commands, options, files, and the names of the pods, containers and images\n" +
    "on the server.",
  operands: [{ name: "SHELL", complete: shells }],
  options: {},
  examples: [
    { line: "source <(davit completion bash)", does: "For bash, in ~/.bashrc" },
    { line: "source <(davit completion zsh)", does: "For zsh, in ~/.zshrc after compinit" },
    { line: "davit completion fish >~/.config/fish/completions/davit.fish", does: "For fish" },
  ],
  run: ({ operands, terminal }) => {
    const shell = shells.find((name) => name === operands[0]);
    if (shell === undefined) {
      const supported = shells.join(", ");
      throw new UsageError(
        `SHELL is "${operands[0] ?? ""}": must be one of ${supported}`,
        completion,
      );
    }
    terminal.out(completionScript(shell));
    return Promise.resolve(exitCode.done);
  },
};

/** The hidden command that the completion scripts call. `commands` returns all commands. */
export function completeFor(commands: () => readonly Command[]): Command {
  return {
    name: completeCommand,
    section: "Command line",
    summary: "Print the candidates for the last word of a command line, for completion scripts",
    operands: [{ name: "WORD", rest: true, optional: true }],
    options: {},
    examples: [{ line: `davit ${completeCommand} stop ""`, does: "Print what davit stop accepts" }],
    hidden: true,
    run: async ({ operands, terminal }) => {
      const candidates = candidatesFor(operands, commands());
      const current = operands.at(-1) ?? "";
      const known = [...candidates.words, ...(await namesOf(candidates, operands))];
      const words = [
        ...(candidates.kind?.startsWith("file") === true ? [":file"] : []),
        ...known.filter((word) => word.startsWith(current)),
      ];
      terminal.out([...new Set(words)].map((word) => `${word}\n`).join(""));
      return exitCode.done;
    },
  };
}

async function namesOf({ kind }: Candidates, words: readonly string[]): Promise<readonly string[]> {
  if (kind === undefined || kind === "file") return [];
  const at = words.indexOf("--endpoint");
  const endpoint = chooseEndpoint(at < 0 ? undefined : words[at + 1], process.env);
  const options = { signal: AbortSignal.timeout(tabMs), timeoutMs: tabMs };
  try {
    using client = new CriClient(endpoint.address);
    const limit = (): typeof options => options;
    const server: Server = { client, endpoint, signal: options.signal, limit, unlimited: limit };
    return await objectNames(kind, new Objects(server));
  } catch {
    return []; // an error message would disturb the line that the user is typing
  }
}

async function objectNames(
  kind: NonNullable<Candidates["kind"]>,
  objects: Objects,
): Promise<readonly string[]> {
  const pods = async (): Promise<string[]> => (await objects.pods()).map(podName);
  const containers = async (): Promise<string[]> =>
    (await objects.containers()).map(({ container, pod }) => {
      const name = container.metadata?.name ?? "";
      return pod === undefined ? name : `${podName(pod)}/${name}`;
    });
  const images = async (): Promise<string[]> =>
    (await objects.images()).flatMap(({ repoTags }) => repoTags);
  switch (kind) {
    case "pod":
    case "file-or-pod":
      return pods();
    case "container":
    case "pod-or-container":
      return [...(await pods()), ...(await containers())];
    case "object":
      return [...(await pods()), ...(await containers()), ...(await images())];
    case "image":
    case "file-or-image":
      return images();
    case "snapshot":
    case "file-or-snapshot":
      return (await objects.snapshots()).map(({ id }) => shortId(id));
    case "namespace":
      return (await objects.pods()).map(({ metadata }) => metadata?.namespace ?? "");
    case "command":
    case "file":
      return [];
  }
}
