import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { usePodDetail } from "./pod-detail.ts";
import type { Json, PodView } from "./view.ts";

/** The verbose status as a tree. */
export function Spec({ pod }: { readonly pod: PodView }): JSX.Element {
  const { detail, error } = usePodDetail(pod);
  return (
    <div class="body spec">
      {error === "" ? null : <p class="error">{error}</p>}
      {detail === undefined ? null : <Members value={detail.spec} depth={0} />}
    </div>
  );
}

function Members({ value, depth }: { readonly value: Json; readonly depth: number }): JSX.Element {
  const entries = Object.entries(value as Readonly<Record<string, Json>>);
  return (
    <ul>
      {entries.map(([key, each]) => (
        <li key={key}>
          {typeof each === "object" && each !== null ? (
            <Branch name={key} value={each} depth={depth + 1} />
          ) : (
            <>
              <span class="key">{key}</span>
              <span class={`leaf ${typeof each}`}>{each === null ? "null" : String(each)}</span>
            </>
          )}
        </li>
      ))}
    </ul>
  );
}

/** An object or list. What is in it is made when it is opened. */
function Branch({
  name,
  value,
  depth,
}: {
  readonly name: string;
  readonly value: Json & object;
  readonly depth: number;
}): JSX.Element {
  const [open, setOpen] = useState(depth <= 2 && name !== "info");
  const count = Object.keys(value).length;
  return (
    <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <span class="key">{name}</span>
        <span class="dim">{Array.isArray(value) ? `[${count}]` : `{${count}}`}</span>
      </summary>
      {open ? <Members value={value} depth={depth} /> : null}
    </details>
  );
}
