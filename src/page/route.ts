/** The lists of the page. */
export const views = ["timeline", "pods", "images", "activity"] as const;
export type View = (typeof views)[number];

/** The tabs of a selected pod. */
export const tabs = ["timeline", "logs", "shell", "stats", "spec"] as const;
export type Tab = (typeof tabs)[number];

/** What the page shows. It is in the fragment of the address, so that the back button works. */
export interface Route {
  readonly view: View;
  /** The selected pod; "" for none. */
  readonly pod: string;
  readonly tab: Tab;
}

/** Parses a fragment: `#pods/ID/logs`. What is unknown is the default. */
export function parseRoute(fragment: string): Route {
  const [view, pod = "", tab] = fragment.replace(/^#/, "").split("/");
  return {
    view: views.find((each) => each === view) ?? "timeline",
    pod: /^[\w.-]*$/.test(pod) ? pod : "",
    tab: tabs.find((each) => each === tab) ?? "timeline",
  };
}

/** The fragment of a route. */
export function formatRoute({ view, pod, tab }: Route): string {
  return pod === "" ? `#${view}` : `#${view}/${pod}/${tab}`;
}
