/**
 * Rendezvous hashing (Thaler & Ravishankar 1998): every node gets a score from the hash of key
 * and node, the highest wins.
 *
 * A key keeps its node while that node lives, whatever happens to the others; when it goes, its
 * keys spread evenly over the rest. No state, no ring, O(nodes) per choice.
 *
 * @module
 */
import { sha256Hex } from "@kvault/core";

/** `nodes` from most to least preferred for `key`; the same on every gateway. */
export function rank<Node>(key: string, nodes: readonly Node[], nameOf: (node: Node) => string): Node[] {
  return nodes
    .map((node) => ({ node, score: sha256Hex(`${key}\n${nameOf(node)}`) }))
    .sort((a, b) => (a.score < b.score ? 1 : a.score > b.score ? -1 : 0))
    .map(({ node }) => node);
}
