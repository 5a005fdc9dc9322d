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
import { chooseEndpoint } from "../server/endpoint.ts";
import type { Server } from "../server/session.ts";

// Whoever presses Tab waits: rather no names than late ones.
const tabMs = 1_000;

/** `davit completion`. */
export const completion: Command = {
  name: "completion",
  section: "This command",
  summary: "Print the completions for a shell",
  details:
    "They complete commands, options, files, and the names of pods, containers and images that\n" +
    "the server has at that moment.",
  operands: [{ name: "SHELL", complete: shells }],
  options: {},
  examples: [
    { line: "source <(davit completion bash)", does: "In ~/.bashrc" },
    { line: "source <(davit completion zsh)", does: "In ~/.zshrc, after compinit" },
    { line: "davit completion fish >~/.config/fish/completions/davit.fish", does: "For fish" },
  ],
  run: ({ operands, terminal }) => {
    const shell = shells.find((name) => name === operands[0]);
    if (shell === undefined) {
      const want = shells.join(", ");
      throw new UsageError(
        `there are no completions for "${operands[0] ?? ""}", only for ${want}`,
        completion,
      );
    }
    terminal.out(completionScript(shell));
    return Promise.resolve(exitCode.done);
  },
};

/** The hidden command that the completions of every shell ask. `commands` is the whole table. */
export function completeFor(commands: () => readonly Command[]): Command {
  return {
    name: completeCommand,
    section: "This command",
    summary: "Print what can stand at the end of a command line, for the completions of shells",
    operands: [{ name: "WORD", rest: true, optional: true }],
    options: {},
    examples: [{ line: `davit ${completeCommand} stop ""`, does: "What davit stop can stop" }],
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
    const server: Server = { client, endpoint, signal: options.signal, limit, patient: limit };
    return await objectNames(kind, new Objects(server));
  } catch {
    return []; // a terminal is no place for an error in the middle of a line
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
      return images();
    case "namespace":
      return (await objects.pods()).map(({ metadata }) => metadata?.namespace ?? "");
    case "command":
    case "file":
      return [];
  }
}
