/** Webhook requests that wait for their answers: no sender and no namespace fills a room for the others. */

/** A room, and how many requests may wait in it. */
export interface Room {
  readonly name: string;
  readonly size: number;
}

/** The place of a request in a room. */
export interface Seat {
  /**
   * Notes the namespace that all events of the request without an outcome belong to; undefined where there are several, or
   * none. False where such requests of that namespace take half of the room already.
   */
  only(namespace: string | undefined): boolean;
  leave(): void;
}

/** The waiting rooms of a process. */
export interface WaitingRooms {
  /** Undefined where the room is full, or the sender takes half of it already. */
  enter(room: Room, sender: string): Seat | undefined;
}

/** Creates the waiting rooms of a process. */
export function createWaitingRooms(): WaitingRooms {
  /** By room; by room and sender; by room and namespace. */
  const waiting = new Map<string, number>();
  const countOf = (key: string) => waiting.get(key) ?? 0;

  function count(key: string, by: 1 | -1): void {
    const now = countOf(key) + by;
    if (now > 0) waiting.set(key, now);
    else waiting.delete(key);
  }

  return {
    enter({ name, size }, sender) {
      const half = Math.ceil(size / 2);
      const keys = [`room ${name}`, `sender ${name} ${sender}`];
      const [all = 0, own = 0] = keys.map(countOf);
      if (all >= size || own >= half) return undefined;
      for (const key of keys) count(key, 1);
      let noted: string | undefined;
      const only = (namespace: string | undefined): boolean => {
        if (noted !== undefined) count(noted, -1);
        noted = namespace === undefined ? undefined : `namespace ${name} ${namespace}`;
        if (noted === undefined) return true;
        count(noted, 1);
        return countOf(noted) <= half;
      };
      return {
        only,
        leave() {
          only(undefined);
          for (const key of keys) count(key, -1);
        },
      };
    },
  };
}
