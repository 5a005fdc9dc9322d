import type { Config } from "./config.ts";

/** The configuration as clients of the daemon may see it: `***` in place of credentials. */
export function withoutSecrets(config: Config): Config {
  const { endpoint, headers } = config.tracing;
  const masked = Object.keys(headers).map((name) => [name, "***"] as const);
  return {
    ...config,
    tracing: {
      ...config.tracing,
      endpoint: withoutCredentials(endpoint),
      headers: Object.fromEntries(masked),
    },
  };
}

/** A URL with `***` in place of its user, its password and the values of its query. */
function withoutCredentials(text: string): string {
  if (text === "") return "";
  const url = new URL(text);
  const user = url.username === "" && url.password === "" ? "" : "***@";
  const query = url.search === "" ? "" : "?***";
  return `${url.protocol}//${user}${url.host}${url.pathname}${query}`;
}
