/** How many writes are under way at once: bounded in all, and fair between sources. */

export interface GateOptions {
  /** In all. */
  readonly limit: number;
  /** Of one source, below `limit`: writes that wait out a fault of one source leave room for the others. */
  readonly perSource: number;
}

/** Lets writes through. */
export interface Gate {
  /** Resolves true once there is room, false where `signal` aborted first. Every true wants a `leave`. */
  enter(source: string, signal: AbortSignal): Promise<boolean>;
  leave(source: string): void;
  readonly inside: number;
}

interface Queue {
  inside: number;
  readonly waiting: Set<() => void>;
}

/** Creates a gate: sources that wait take turns, whatever the length of their queues. */
export function createGate({ limit, perSource }: GateOptions): Gate {
  const queues = new Map<string, Queue>();
  let inside = 0;

  function letIn(): void {
    for (const queue of queues.values()) {
      if (inside >= limit) return;
      const [first] = queue.waiting;
      if (first && queue.inside < perSource) first();
    }
  }

  function queueOf(source: string): Queue {
    const queue = queues.get(source) ?? { inside: 0, waiting: new Set() };
    queues.set(source, queue);
    return queue;
  }

  function tidy(source: string, queue: Queue): void {
    if (queue.inside === 0 && queue.waiting.size === 0) queues.delete(source);
  }

  return {
    enter(source, signal) {
      if (signal.aborted) return Promise.resolve(false);
      const queue = queueOf(source);
      const admit = () => {
        // A map keeps its order: a source that got a turn goes to its end.
        queues.delete(source);
        queues.set(source, queue);
        queue.inside++;
        inside++;
      };
      if (inside < limit && queue.inside < perSource && queue.waiting.size === 0) {
        admit();
        return Promise.resolve(true);
      }
      return new Promise((resolve) => {
        const turn = () => {
          queue.waiting.delete(turn);
          signal.removeEventListener("abort", abort);
          admit();
          resolve(true);
        };
        const abort = () => {
          queue.waiting.delete(turn);
          tidy(source, queue);
          resolve(false);
        };
        queue.waiting.add(turn);
        signal.addEventListener("abort", abort, { once: true });
      });
    },
    leave(source) {
      const queue = queues.get(source);
      if (!queue) return;
      queue.inside--;
      inside--;
      tidy(source, queue);
      letIn();
    },
    get inside() {
      return inside;
    },
  };
}
