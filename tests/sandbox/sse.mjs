// Server-sent events. An event is {event?, data, content?, last?}: `content` carries generated text, `last` ends the stream.
export const frame = (e) => (e.event ? `event: ${e.event}\ndata: ${e.data}\n\n` : `data: ${e.data}\n\n`);
export const crlfFrame = (e) => `data: ${e.data}\r\n\r\n`;

export const SSE = "text/event-stream; charset=utf-8";
