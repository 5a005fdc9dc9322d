import type { JSX } from "preact";
import { formatAge, formatBytes, formatClock, formatDuration, formatOperation } from "./format.ts";
import type { ActivityItem, ActivityView, PullView } from "./view.ts";

/** What the server is doing now, and what has failed last. */
export function Activity({
  activity,
  select,
}: {
  readonly activity: ActivityView | undefined;
  readonly select: (pod: string) => void;
}): JSX.Element {
  if (activity === undefined) return <p class="empty">Loading…</p>;
  if (!activity.supported) {
    return (
      <p class="empty">This server does not report its operations in progress, as davit does.</p>
    );
  }
  const { running, pulls, failures, calls } = activity;
  return (
    <div class="activity">
      <section>
        <h2>Doing now</h2>
        {running.length === 0 ? <p class="dim">No operation in progress.</p> : null}
        <ul>
          {running.map((item) => (
            <Item key={item.key} item={item} select={select}>
              <b class="stage">{item.stage}</b> {formatDuration(item.stageMs)}
              <span class="dim"> · {formatDuration(item.tookMs)} in all</span>
            </Item>
          ))}
        </ul>
        {calls.length === 0 ? null : (
          <p class="dim">
            Calls:{" "}
            {calls.map(({ method, ageMs }) => `${method} ${formatDuration(ageMs)}`).join(", ")}
          </p>
        )}
      </section>
      {pulls.length === 0 ? null : (
        <section>
          <h2>Pulling</h2>
          <ul>
            {pulls.map((pull, at) => (
              <Pull key={at} pull={pull} />
            ))}
          </ul>
        </section>
      )}
      <section>
        <h2>Last failures</h2>
        {failures.length === 0 ? <p class="dim">None since the server was started.</p> : null}
        <ul>
          {failures.slice(0, 30).map((item) => (
            <Item key={item.key} item={item} select={select}>
              <time title={formatClock(item.startedMs)}>
                {formatAge(item.startedMs + item.tookMs, Date.now())} ago
              </time>
              <span class="dim"> · after {formatDuration(item.tookMs)} in </span>
              <b class="stage bad">{item.stage}</b>
              <span class="error">{item.error}</span>
            </Item>
          ))}
        </ul>
      </section>
    </div>
  );
}

function Item({
  item,
  select,
  children,
}: {
  readonly item: ActivityItem;
  readonly select: (pod: string) => void;
  readonly children: JSX.Element | (JSX.Element | string)[];
}): JSX.Element {
  const { podId, subject } = item;
  return (
    <li class={item.error === undefined ? "item running" : "item"}>
      <p>
        {formatOperation(item)}{" "}
        {podId === "" ? (
          <span class="name">{subject}</span>
        ) : (
          <button class="link" onClick={() => select(podId)}>
            {subject}
          </button>
        )}
      </p>
      <p>{children}</p>
    </li>
  );
}

function Pull({
  pull: { image, fetched, size, layers },
}: {
  readonly pull: PullView;
}): JSX.Element {
  return (
    <li class="item">
      <p class="name">{image}</p>
      <p class="layers" role="img" aria-label={`${formatBytes(fetched)} of ${formatBytes(size)}`}>
        {layers.map(({ state, share }, at) => (
          <span class="track" key={at} title={state}>
            <span class={state} style={{ width: `${share * 100}%` }} />
          </span>
        ))}
      </p>
      <p class="dim">
        {formatBytes(fetched)} of {formatBytes(size)}
      </p>
    </li>
  );
}
