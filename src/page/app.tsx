import type { JSX } from "preact";
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { Activity } from "./activity.tsx";
import { Confirm, type Question } from "./confirm.tsx";
import { Detail } from "./detail.tsx";
import { Header } from "./header.tsx";
import { Images } from "./images.tsx";
import { onKey } from "./keys.ts";
import { Pods } from "./pods.tsx";
import { formatRoute, parseRoute, type Route, type View, views } from "./route.ts";
import type { Store } from "./store.ts";
import { Timeline } from "./timeline.tsx";
import type { LiveState } from "./view.ts";

/** The whole page. */
export function App({ store }: { readonly store: Store }): JSX.Element {
  useChanges(store);
  const [route, navigate] = useRoute();
  const [filter, setFilter] = useState("");
  const [question, setQuestion] = useState<Question>();
  const select = useCallback(
    (pod: string) => navigate({ ...parseRoute(location.hash), pod, tab: "timeline" }),
    [navigate],
  );
  const close = useCallback(() => navigate({ ...parseRoute(location.hash), pod: "" }), [navigate]);
  useEffect(() => onKey({ close, clear: () => setFilter("") }), [close]);
  const { state, connection } = store;
  const canWrite = state.node?.canWrite === true;
  return (
    <>
      <Header node={state.node} activity={state.activity} pods={state.pods}>
        <input
          id="search"
          type="search"
          placeholder="Filter pods, images, ids"
          aria-label="Filter pods, images and ids; press / to type"
          value={filter}
          onInput={({ currentTarget }) => setFilter(currentTarget.value)}
        />
      </Header>
      <Banner store={store} />
      {connection === "unauthorized" ? null : (
        <div class={route.pod === "" ? "columns" : "columns selected"}>
          <main>
            <Tabs route={route} state={state} navigate={navigate} />
            <ViewOf {...{ route, state, filter, select, store, canWrite }} ask={setQuestion} />
          </main>
          <aside aria-label="Details">
            {route.pod === "" ? (
              <Activity activity={state.activity} select={select} />
            ) : (
              <Detail {...{ route, navigate, store, close }} ask={setQuestion} />
            )}
          </aside>
        </div>
      )}
      <Confirm question={question} close={() => setQuestion(undefined)} />
    </>
  );
}

/** Renders again after each change of the store. */
function useChanges(store: Store): void {
  const [, setCount] = useState(0);
  useEffect(() => store.subscribe(() => setCount((count) => count + 1)), [store]);
}

function useRoute(): readonly [Route, (route: Route) => void] {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const changed = (): void => setRoute(parseRoute(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  const navigate = useCallback((next: Route) => {
    location.hash = formatRoute(next);
  }, []);
  return [route, navigate];
}

const titles: Readonly<Record<View, string>> = {
  timeline: "Timeline",
  pods: "Pods",
  images: "Images",
  activity: "Activity",
};

function Tabs({
  route,
  state,
  navigate,
}: {
  readonly route: Route;
  readonly state: Partial<LiveState>;
  readonly navigate: (route: Route) => void;
}): JSX.Element {
  const counts: Readonly<Record<View, number | undefined>> = {
    timeline: state.timeline?.starts.length,
    pods: state.pods?.length,
    images: state.images?.length,
    activity: state.activity === undefined ? undefined : state.activity.running.length,
  };
  return (
    <nav class="tabs" aria-label="Views">
      {views.map((view) => (
        <button
          key={view}
          class={view}
          aria-current={view === route.view ? "page" : undefined}
          onClick={() => navigate({ ...route, view, pod: "" })}
        >
          {titles[view]}
          {counts[view] === undefined ? null : <span class="count">{counts[view]}</span>}
        </button>
      ))}
    </nav>
  );
}

/** The list of a view. It is drawn again only when its part of the state has changed. */
function ViewOf({
  route: { view, pod },
  state,
  filter,
  select,
  store,
  canWrite,
  ask,
}: {
  readonly route: Route;
  readonly state: Partial<LiveState>;
  readonly filter: string;
  readonly select: (pod: string) => void;
  readonly store: Store;
  readonly canWrite: boolean;
  readonly ask: (question: Question) => void;
}): JSX.Element {
  const { timeline, pods, images, activity } = state;
  return useMemo(() => {
    switch (view) {
      case "timeline":
        return <Timeline {...{ timeline, filter, select }} selected={pod} />;
      case "pods":
        return <Pods {...{ pods, filter, select, store }} selected={pod} />;
      case "images":
        return <Images {...{ images, filter, canWrite, ask }} />;
      case "activity":
        return <Activity {...{ activity, select }} />;
    }
  }, [view, pod, filter, canWrite, select, store, state[view]]);
}

/** What is wrong with the connection, if anything. */
function Banner({ store: { connection, state } }: { readonly store: Store }): JSX.Element | null {
  if (connection === "unauthorized") {
    return (
      <p class="banner alone" role="alert">
        This page needs the token of its server: open the address that <code>davit ui</code> has
        printed, with its <code>#token=</code>. Each tab needs it once.
      </p>
    );
  }
  const message =
    connection === "lost"
      ? "The connection to davit ui is lost. Trying again; what you see is what was known last."
      : state.link?.ok === false
        ? `The server does not respond: ${state.link.message}. Trying again; what you see is what was known last.`
        : "";
  return (
    <p class="banner" role="status" hidden={message === ""}>
      {message}
    </p>
  );
}
