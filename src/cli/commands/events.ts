import { isKind, messageOf } from "../../base/errors.ts";
import { within } from "../../base/wait.ts";
import { watchEvents, watchNodeEvents } from "../../client/events.ts";
import {
  type ContainerEventResponse,
  ContainerEventResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { eventKinds, EventNames, isEventOf, type NamedEvent } from "../objects/named-event.ts";
import { type NamedNodeEvent, namedNodeEvent, nodeEventTopics } from "../objects/node-event.ts";
import { imageNamesOf } from "../objects/image-name.ts";
import { Objects } from "../objects/objects.ts";
import { formatJsonLine, messageToJson } from "../output/cri-message.ts";
import { formatLocalTime } from "../output/figures.ts";
import { printable, printableLines } from "../output/printable.ts";
import type { Style, Terminal } from "../output/terminal.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit events`. */
export const events: Command = {
  name: "events",
  section: "Inspection and debugging",
  summary: "Print what happens to pods and containers, until Ctrl-C",
  details:
    "Prints a line for each pod and container that is created, started, stopped or deleted from now on. davit\n" +
    "also reports images that are pulled and removed, OOM kills, and plugins (NRI) that connect and are lost. With\n" +
    "operands, prints only the events of these pods, with their containers, and of these containers; they\n" +
    "need not exist yet. No server has a history of events, so there is no --since: davit why shows the\n" +
    "history of a pod. Messages on stderr say when the server reports events, and when the connection was lost and some\n" +
    'are missing. With a davit server, nothing after "watching events" is missed.',
  operands: [{ name: "POD|CONTAINER", many: true, optional: true, complete: "pod-or-container" }],
  options: {
    follow: { short: "f", doc: "Accepted for scripts; events are always followed" },
    event: {
      value: "EVENT",
      many: true,
      doc: "Print only these (repeatable)",
      complete: [...eventKinds, ...nodeEventTopics],
    },
    namespace: {
      short: "n",
      value: "NAME",
      doc: "Print only events of this namespace",
      complete: "namespace",
    },
    output: {
      short: "o",
      value: "FORMAT",
      doc: "Output format; json prints CRI messages in lines, and others with a type",
      complete: ["text", "json"],
    },
  },
  examples: [
    { line: "davit events", does: "Watch all pods and containers" },
    { line: "davit events web --event stopped", does: "Watch how the containers of a pod end" },
    { line: "davit events -o json", does: "Print the messages of the CRI for a program" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => follow(call, server)),
};

/** How long the events of containers wait for the other stream of a server that is busy. */
const openMs = 5_000;

async function follow(call: Call, server: Server): Promise<number> {
  const { terminal } = call;
  const names = new EventNames();
  const isSelected = selection(call);
  const asJson = call.options.text("output") === "json";
  // Also fails at once if there is no server.
  const before = new Objects(server);
  names.learn(await before.containers(), await imageNamesOf(before));
  using node = new NodeWatch(call, server, names);
  let wasLost = false;
  try {
    for await (const news of watchEvents(server.client, { signal: server.signal })) {
      switch (news.kind) {
        case "open": {
          // Containers may have been created before the stream was open.
          const now = new Objects(server);
          names.learn(await now.containers().catch(() => []), await imageNamesOf(now));
          await within(node.open, openMs, server.signal);
          note(terminal, wasLost ? "watching events again; some are missing" : "watching events");
          wasLost = false;
          break;
        }
        case "lost":
          if (!wasLost) note(terminal, lossText(news.error));
          wasLost = true;
          break;
        case "event": {
          const named = names.name(news.event);
          if (!isSelected(named)) break;
          terminal.out(asJson ? jsonLine(news.event) : textLine(named, terminal.style));
        }
      }
    }
  } catch (error) {
    if (server.signal.aborted) return exitCode.interrupted;
    throw error;
  }
  throw new CommandFailure(
    exitCode.unsupported,
    "watch events: the server does not send any; CRI-O requires enable_pod_events = true",
  );
}

/** Prints the events of a davit node besides those of the CRI. With other servers it prints nothing. */
class NodeWatch implements Disposable {
  readonly #end = new AbortController();
  #opening = Promise.withResolvers<undefined>();

  constructor(call: Call, server: Server, names: EventNames) {
    this.#print(call, server, names).catch(() => {
      // The watch of the CRI's events reports a failure of the server.
      this.#opening.resolve(undefined);
    });
  }

  /** Resolves when all events are reported, or the server has none. */
  get open(): Promise<undefined> {
    return this.#opening.promise;
  }

  async #print({ terminal, ...call }: Call, server: Server, names: EventNames): Promise<void> {
    const isSelected = nodeSelection(call);
    const asJson = call.options.text("output") === "json";
    const signal = AbortSignal.any([server.signal, this.#end.signal]);
    for await (const news of watchNodeEvents(server.client, { signal })) {
      if (news.kind === "open") {
        this.#opening.resolve(undefined);
      } else if (news.kind === "lost") {
        // The watch of the CRI's events reports the other reasons, too.
        if (isKind(news.error, "resource-exhausted")) note(terminal, lossText(news.error));
        this.#opening.resolve(undefined);
        this.#opening = Promise.withResolvers();
      } else {
        const event = namedNodeEvent(news.event, names);
        if (event === undefined || !isSelected(event)) continue;
        terminal.out(asJson ? nodeJsonLine(event) : nodeTextLine(event, terminal.style));
      }
    }
    this.#opening.resolve(undefined);
  }

  [Symbol.dispose](): void {
    this.#end.abort();
  }
}

function note(terminal: Terminal, text: string): void {
  terminal.err(`${terminal.errStyle.dim(`davit: ${printableLines(text)}`)}\n`);
}

function lossText(error: unknown): string {
  const reason = error === undefined ? "the server has ended the stream" : messageOf(error);
  return `${reason}; connecting again`;
}

/** Whether an event is printed. */
function selection({ operands, options }: Call): (event: NamedEvent) => boolean {
  const kinds = options.texts("event");
  const namespace = options.text("namespace");
  return (event) =>
    (kinds.length === 0 || kinds.includes(event.kind)) &&
    (namespace === undefined || namespace === event.namespace) &&
    (operands.length === 0 || operands.some((word) => isEventOf(event, word)));
}

/** The same for events of the node, which are of no pod, except OOM kills. */
function nodeSelection({
  operands,
  options,
}: Pick<Call, "operands" | "options">): (event: NamedNodeEvent) => boolean {
  const kinds = options.texts("event");
  const namespace = options.text("namespace");
  return ({ kind, container }) =>
    (kinds.length === 0 || kinds.some((topic) => kind.startsWith(`${topic}-`))) &&
    (namespace === undefined || namespace === container?.namespace) &&
    (operands.length === 0 ||
      (container !== undefined && operands.some((word) => isEventOf(container, word))));
}

function nodeJsonLine({ kind, timeNs, fields }: NamedNodeEvent): string {
  return formatJsonLine({ type: kind, timeNs: String(timeNs), ...fields });
}

function nodeTextLine({ kind, timeNs, text }: NamedNodeEvent, style: Style): string {
  const isBad = kind === "oom-killed" || kind === "plugin-lost";
  const words = kind.replace("-", " ");
  const shown = printable(text.slice(0, maxMessage));
  return `${style.dim(formatLocalTime(timeNs))}  ${isBad ? style.red(words) : words}  ${shown}\n`;
}

function jsonLine(event: ContainerEventResponse): string {
  return formatJsonLine(messageToJson(ContainerEventResponseSchema, event));
}

/** How much of the message of a container's end is printed: errors of other servers can be long. */
const maxMessage = 500;

/** Time, kind, pod or container, image, and how and why a container ended. */
function textLine(event: NamedEvent, style: Style): string {
  const { kind, podName, namespace, container, end } = event;
  const failed = end !== undefined && end.exitCode !== 0;
  const paint = kind === "started" ? style.green : failed ? style.red : (text: string) => text;
  const path = [namespace, podName, ...(container === undefined ? [] : [container.name])];
  const parts = [
    style.dim(formatLocalTime(event.timeNs)),
    paint(kind.padEnd(7)),
    printable(path.filter((part) => part !== "").join("/") || event.id),
    ...(container === undefined ? ["(pod)"] : [printable(container.image)]),
    ...(end === undefined
      ? []
      : [
          paint(`code ${end.exitCode}`),
          printable(end.reason),
          printable(end.message.trim().slice(0, maxMessage)),
        ]),
  ];
  return `${parts.filter((part) => part !== "").join("  ")}\n`;
}
