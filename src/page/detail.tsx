import type { JSX } from "preact";
import type { Question } from "./confirm.tsx";
import { formatAge, formatBytes, formatCpu, shortId } from "./format.ts";
import { Logs } from "./logs.tsx";
import { usePodDetail } from "./pod-detail.ts";
import { podState } from "./pods.tsx";
import { type Route, type Tab, tabs } from "./route.ts";
import { Shell } from "./shell.tsx";
import { Spec } from "./spec.tsx";
import { Stats } from "./stats.tsx";
import { request } from "./session.ts";
import type { Store } from "./store.ts";
import type { ActionName, ContainerView, PodDetail, PodView, StartView } from "./view.ts";
import { Waterfall } from "./waterfall.tsx";

type Ask = (question: Question) => void;

/** The selected pod. */
export function Detail({
  route,
  navigate,
  store,
  close,
  ask,
}: {
  readonly route: Route;
  readonly navigate: (route: Route) => void;
  readonly store: Store;
  readonly close: () => void;
  readonly ask: Ask;
}): JSX.Element {
  const { pods, node, timeline } = store.state;
  if (pods === undefined) return <p class="empty">Loading…</p>;
  const pod = pods.find(({ id }) => id === route.pod);
  if (pod === undefined) {
    const starts = timeline?.starts.filter(({ podId }) => podId === route.pod) ?? [];
    return <Removed starts={starts} close={close} />;
  }
  const canWrite = node?.canWrite === true;
  return (
    <div class="detail">
      <Title pod={pod} close={close} />
      {canWrite ? <Actions pod={pod} ask={ask} /> : null}
      <nav class="tabs" aria-label="Tabs">
        {tabs.map((tab) => (
          <button
            key={tab}
            aria-current={tab === route.tab ? "page" : undefined}
            onClick={() => navigate({ ...route, tab })}
          >
            {tab}
          </button>
        ))}
      </nav>
      <TabOf tab={route.tab} {...{ pod, store, canWrite, ask }} />
    </div>
  );
}

/** What is left of a pod that was removed: its starts of the last hour. */
function Removed({
  starts,
  close,
}: {
  readonly starts: readonly StartView[];
  readonly close: () => void;
}): JSX.Element {
  const [last] = starts;
  const operations = starts.toReversed().flatMap((start) => start.operations);
  return (
    <div class="detail">
      <div class="title">
        <div>
          <h2>
            <span class="dim">{last === undefined ? "" : `${last.namespace}/`}</span>
            {last?.name} <span class="chip off">removed</span>
          </h2>
          <p class="dim">This pod does not exist any more.</p>
        </div>
        <CloseButton close={close} />
      </div>
      <div class="body">
        <Operations operations={operations} />
      </div>
    </div>
  );
}

function CloseButton({ close }: { readonly close: () => void }): JSX.Element {
  return (
    <button class="close" aria-label="Close details" onClick={close}>
      ✕
    </button>
  );
}

function Operations({ operations }: Pick<PodDetail, "operations">): JSX.Element {
  const nowMs = Date.now();
  return (
    <>
      {operations.map((operation, at) => (
        <Waterfall
          key={at}
          operation={operation}
          ago={`${formatAge(operation.startedMs, nowMs)} ago`}
        />
      ))}
    </>
  );
}

function TabOf({
  tab,
  pod,
  store,
  canWrite,
  ask,
}: {
  readonly tab: Tab;
  readonly pod: PodView;
  readonly store: Store;
  readonly canWrite: boolean;
  readonly ask: Ask;
}): JSX.Element {
  switch (tab) {
    case "timeline":
      return <History pod={pod} key={pod.id} canWrite={canWrite} ask={ask} />;
    case "logs":
      return <Logs pod={pod} key={pod.id} />;
    case "shell":
      return <Shell pod={pod} key={pod.id} canWrite={canWrite} />;
    case "stats":
      return <Stats samples={store.samplesOf(pod.id)} key={pod.id} />;
    case "spec":
      return <Spec pod={pod} key={pod.id} />;
  }
}

function Title({ pod, close }: { readonly pod: PodView; readonly close: () => void }): JSX.Element {
  const [color, word] = podState(pod);
  const facts = [
    pod.ip,
    `created ${formatAge(pod.createdMs, Date.now())} ago`,
    pod.handler === "" ? "" : `handler ${pod.handler}`,
    shortId(pod.id),
  ].filter((text) => text !== "");
  return (
    <div class="title">
      <div>
        <h2>
          <span class="dim">{pod.namespace}/</span>
          {pod.name} <span class={`chip ${color}`}>{word}</span>
        </h2>
        <p class="dim">{facts.join(" · ")}</p>
      </div>
      <CloseButton close={close} />
    </div>
  );
}

function act(action: ActionName, id: string): () => Promise<unknown> {
  return () => request("/api/action", { action, id });
}

function Actions({ pod, ask }: { readonly pod: PodView; readonly ask: Ask }): JSX.Element {
  const { id, ready, namespace, name } = pod;
  const text = `${namespace}/${name}`;
  return (
    <div class="buttons">
      {ready ? (
        <button
          onClick={() =>
            ask({ title: "Stop this pod?", text, verb: "Stop", run: act("stop-pod", id) })
          }
        >
          Stop pod
        </button>
      ) : null}
      <button
        class="danger"
        onClick={() =>
          ask({
            title: ready ? "Stop and remove this pod?" : "Remove this pod?",
            text,
            verb: "Remove",
            run: act("remove-pod", id),
          })
        }
      >
        Remove pod
      </button>
    </div>
  );
}

function History({
  pod,
  canWrite,
  ask,
}: {
  readonly pod: PodView;
  readonly canWrite: boolean;
  readonly ask: Ask;
}): JSX.Element {
  const { detail, error } = usePodDetail(pod);
  return (
    <div class="body">
      <Containers pod={pod} canWrite={canWrite} ask={ask} />
      {error === "" ? null : <p class="error">{error}</p>}
      {detail?.reason === undefined || detail.reason === "" ? null : (
        <p class="error">{detail.reason}</p>
      )}
      {detail?.hasHistory === false ? (
        <p class="empty">
          This server does not report what it did when. The timeline needs the history of operations
          in the verbose status, which davit has.
        </p>
      ) : null}
      {detail?.hasHistory === true && detail.operations.length === 0 ? (
        <p class="empty">No operations on this pod since the start of the server.</p>
      ) : null}
      {detail === undefined ? null : <Operations operations={detail.operations} />}
    </div>
  );
}

function Containers({
  pod,
  canWrite,
  ask,
}: {
  readonly pod: PodView;
  readonly canWrite: boolean;
  readonly ask: Ask;
}): JSX.Element {
  return (
    <ul class="containers">
      {pod.containers.map((container) => (
        <li key={container.id}>
          <span class={`chip ${containerColor(container)}`}>{container.state}</span>
          <span class="name">
            {container.name}
            <span class="dim sub">{container.image}</span>
            {container.exit === undefined ? null : (
              <span class={container.exit.code === 0 ? "dim sub" : "bad sub"}>
                {container.exit.reason} with code {container.exit.code},{" "}
                {formatAge(container.exit.atMs, Date.now())} ago {container.exit.message}
              </span>
            )}
          </span>
          <span class="right">
            {container.state === "running" ? formatCpu(container.usage.cpu) : ""}
            <span class="dim sub">
              {container.usage.memory === undefined ? "" : formatBytes(container.usage.memory)}
            </span>
          </span>
          {canWrite && container.state === "running" ? (
            <button
              onClick={() =>
                ask({
                  title: "Stop this container?",
                  text: `${pod.namespace}/${pod.name}/${container.name}`,
                  verb: "Stop",
                  run: act("stop-container", container.id),
                })
              }
            >
              Stop
            </button>
          ) : null}
        </li>
      ))}
    </ul>
  );
}

function containerColor({ state, exit }: ContainerView): string {
  if (state === "running") return "good";
  if (state === "paused") return "warn";
  return exit !== undefined && exit.code !== 0 ? "bad" : "off";
}
