import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { plainText } from "./format.ts";
import { readLines } from "./ndjson.ts";
import { send } from "./session.ts";
import type { LogLineView, PodView } from "./view.ts";

/** More lines are dropped from the top. */
const maxLines = 5_000;

/** The log of a container, followed. */
export function Logs({ pod }: { readonly pod: PodView }): JSX.Element {
  const [id, setId] = useState(pod.containers[0]?.id ?? "");
  const [stream, setStream] = useState("");
  const [times, setTimes] = useState(false);
  const [follow, setFollow] = useState(true);
  const [status, setStatus] = useState("");
  const view = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const box = view.current;
    if (box === null || id === "") return;
    box.replaceChildren();
    const abort = new AbortController();
    setStatus("");
    void showLog(box, id, abort.signal).then(setStatus);
    return () => abort.abort();
  }, [id]);
  useEffect(() => {
    const box = view.current;
    if (box === null || !follow) return;
    const toEnd = (): void => {
      box.scrollTop = box.scrollHeight;
    };
    toEnd();
    const changes = new MutationObserver(toEnd);
    changes.observe(box, { childList: true });
    return () => changes.disconnect();
  }, [follow]);
  return (
    <div class="body logs">
      <div class="toolbar">
        <select
          aria-label="Container"
          value={id}
          onChange={(event) => setId(event.currentTarget.value)}
        >
          {pod.containers.map((container) => (
            <option key={container.id} value={container.id}>
              {container.name}
              {container.attempt === 0 ? "" : ` (attempt ${container.attempt})`}
            </option>
          ))}
        </select>
        <select
          aria-label="Stream"
          value={stream}
          onChange={(event) => setStream(event.currentTarget.value)}
        >
          <option value="">stdout and stderr</option>
          <option value="stdout">stdout</option>
          <option value="stderr">stderr</option>
        </select>
        <Check name="Times" value={times} set={setTimes} />
        <Check name="Follow" value={follow} set={setFollow} />
      </div>
      <div
        ref={view}
        class={`lines${stream === "" ? "" : ` only-${stream}`}${times ? " times" : ""}`}
        tabIndex={0}
        role="log"
        aria-label="Log"
        onWheel={({ deltaY }) => {
          if (deltaY < 0) setFollow(false);
        }}
      />
      <p class="dim" role="status">
        {status}
      </p>
    </div>
  );
}

function Check({
  name,
  value,
  set,
}: {
  readonly name: string;
  readonly value: boolean;
  readonly set: (value: boolean) => void;
}): JSX.Element {
  return (
    <label>
      <input
        type="checkbox"
        checked={value}
        onChange={(event) => set(event.currentTarget.checked)}
      />
      {name}
    </label>
  );
}

/** Appends the lines of a log to an element until the log ends. Returns why it has ended. */
async function showLog(box: HTMLElement, id: string, signal: AbortSignal): Promise<string> {
  try {
    const path = `/api/logs?container=${encodeURIComponent(id)}&tail=1000`;
    for await (const lines of readLines<LogLineView>(await send(path, { signal }))) {
      if (signal.aborted) return "";
      box.append(...lines.slice(-maxLines).map(lineElement));
      while (box.childElementCount > maxLines) box.firstElementChild?.remove();
    }
    return "The container has exited.";
  } catch (error) {
    if (signal.aborted) return "";
    return error instanceof Error ? error.message : String(error);
  }
}

function lineElement({ time, stream, text }: LogLineView): HTMLElement {
  const line = document.createElement("p");
  line.className = stream;
  const stamp = document.createElement("time");
  stamp.textContent = time.slice(11, 23);
  line.append(stamp, plainText(text));
  return line;
}
