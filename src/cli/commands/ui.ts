import { isIP } from "node:net";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { podsDirectoryOption, podsRootOf } from "../lifecycle/read-manifests.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit ui`. */
export const ui: Command = {
  name: "ui",
  section: "Inspection and debugging",
  summary: "Serve a page with the pods, their start times and logs",
  details:
    "Prints the address of the page for a browser on this machine, with a token that opens it, and serves\n" +
    "it until Ctrl-C. The page shows what the node does, where each start of a pod spent its time, logs and\n" +
    "usage. It can change nothing without --write. It works with any CRI server; only davit reports\n" +
    "operations and their stages. See docs/ui.md.",
  operands: [],
  options: {
    listen: {
      value: "ADDRESS:PORT",
      doc: "Address to listen on (default 127.0.0.1 and any free port)",
    },
    write: {
      doc: "Allow stopping pods and containers, removing pods and images, shells",
    },
    "pods-directory": podsDirectoryOption,
  },
  examples: [
    { line: "davit ui", does: "Serve the page, read-only" },
    { line: "davit ui --listen 127.0.0.1:8042 --write", does: "Use this port, and allow changes" },
    {
      line: "ssh -t -L 8042:127.0.0.1:8042 root@NODE davit ui --listen 127.0.0.1:8042",
      does: "Open the page of another machine through ssh",
    },
  ],
  client: true,
  run: (call) => withServer(call, (server) => serve(call, server)),
};

async function serve(call: Call, server: Server): Promise<number> {
  const { options, terminal } = call;
  const listen = parseListen(call);
  // Imported here, so that other commands do not load it.
  const { UiServer, readPage, isLoopback } = await import("../ui/index.ts");
  const canWrite = options.has("write");
  const page = await readPage();
  const podsRoot = podsRootOf(call);
  await using serving = await UiServer.open({ server, listen, canWrite, page, podsRoot });
  if (!isLoopback(listen.host)) {
    terminal.err(
      `${terminal.errStyle.yellow("warning:")} "${listen.host}" can be reached from other machines, without encryption:\n` +
        "whoever sees the traffic can use the page; prefer an ssh tunnel (davit help ui)\n",
    );
  }
  const mode = canWrite ? "with write access" : "read-only; --write allows changes";
  terminal.out(`${serving.url}\n`);
  terminal.err(`Open this address in a browser (${mode}). Ctrl-C ends it.\n`);
  const { signal } = server;
  if (!signal.aborted) {
    await new Promise((resolve) => {
      signal.addEventListener("abort", resolve, { once: true });
    });
  }
  return exitCode.done;
}

/** The value of --listen. Throws a UsageError if it is invalid. */
function parseListen({ options }: Call): { readonly host: string; readonly port: number } {
  const text = options.text("listen");
  if (text === undefined) return { host: "127.0.0.1", port: 0 };
  const [, host = "127.0.0.1", port = ""] = /^(?:(\[[^\]]+\]|[^:]+):)?(\d{1,5})$/.exec(text) ?? [];
  const address = host === "localhost" ? "127.0.0.1" : host.replace(/^\[(.*)\]$/, "$1");
  if (port !== "" && Number(port) < 65_536 && isIP(address) !== 0) {
    return { host: address, port: Number(port) };
  }
  throw options.invalid("listen", `is "${text}": must be ADDRESS:PORT, such as 127.0.0.1:8042`);
}
