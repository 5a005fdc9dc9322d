// Limits where pods may open connections to, by iptables in their network namespaces. Start reading with
// iptables-egress.ts.
export { IptablesEgress } from "./iptables-egress.ts";
