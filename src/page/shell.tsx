import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import { adoptStyles } from "./adopted-styles.ts";
import { shellProtocols } from "./session.ts";
import type { PodView } from "./view.ts";

/** A shell in a container. */
export function Shell({
  pod,
  canWrite,
}: {
  readonly pod: PodView;
  readonly canWrite: boolean;
}): JSX.Element {
  const running = pod.containers.filter(({ state }) => state === "running");
  const [id, setId] = useState(running[0]?.id ?? "");
  const [status, setStatus] = useState("");
  const [count, setCount] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!canWrite || id === "" || box.current === null) return;
    setStatus("");
    return openShell(box.current, id, setStatus);
  }, [id, canWrite, count]);
  if (!canWrite) {
    return (
      <p class="empty">
        Shells need write access: start the page with <code>davit ui --write</code>.
      </p>
    );
  }
  if (id === "") return <p class="empty">No container of this pod is running.</p>;
  return (
    <div class="body shell">
      <div class="toolbar">
        <select
          aria-label="Container"
          value={id}
          onChange={(event) => setId(event.currentTarget.value)}
        >
          {running.map((container) => (
            <option key={container.id} value={container.id}>
              {container.name}
            </option>
          ))}
        </select>
        {status === "" ? null : <button onClick={() => setCount(count + 1)}>New shell</button>}
        <span class="dim" role="status">
          {status}
        </span>
      </div>
      <div class="terminal-box" ref={box} />
    </div>
  );
}

/** Opens a shell in an element. Returns a function that closes it. */
function openShell(
  box: HTMLElement,
  containerId: string,
  ended: (status: string) => void,
): () => void {
  const styles = adoptStyles();
  const terminal = new Terminal({
    cursorBlink: true,
    fontSize: 13,
    fontFamily: "ui-monospace, Menlo, Consolas, monospace",
    scrollback: 5_000,
    theme: { background: "#12161c", foreground: "#dbe2ea" },
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(box);
  fit.fit();
  terminal.focus();
  const path = `ws://${location.host}/api/shell?container=${encodeURIComponent(containerId)}`;
  const socket = new WebSocket(path, shellProtocols());
  socket.binaryType = "arraybuffer";
  const send = (data: string | Uint8Array<ArrayBuffer>): void => {
    if (socket.readyState === WebSocket.OPEN) socket.send(data);
  };
  const encoder = new TextEncoder();
  const resize = (): void => send(JSON.stringify({ cols: terminal.cols, rows: terminal.rows }));
  let status = "The connection was closed.";
  socket.addEventListener("open", resize);
  socket.addEventListener("message", ({ data }: MessageEvent<string | ArrayBuffer>) => {
    if (typeof data === "string") {
      status = endOf(data);
      return;
    }
    // The server waits for this before it sends more.
    terminal.write(new Uint8Array(data), () => send(JSON.stringify({ ack: data.byteLength })));
  });
  socket.addEventListener("close", () => ended(status));
  terminal.onData((data) => send(encoder.encode(data)));
  terminal.onResize(resize);
  const sizes = new ResizeObserver(() => fit.fit());
  sizes.observe(box);
  return () => {
    sizes.disconnect();
    socket.close();
    terminal.dispose();
    styles();
  };
}

function endOf(message: string): string {
  const { exitCode, failure } = JSON.parse(message) as {
    readonly exitCode?: number;
    readonly failure?: string;
  };
  return failure ?? `The shell has exited with code ${exitCode ?? "unknown"}.`;
}
