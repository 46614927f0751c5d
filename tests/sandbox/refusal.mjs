// A request the simulated provider turns down. Each dialect renders it in its own error shape.
export class Refusal extends Error {
  constructor(status, message, detail = {}) {
    super(message);
    this.status = status;
    this.detail = detail;
  }
}

export const invalid = (message, detail) => new Refusal(400, message, detail);

// What the canned failures of the control say, by status.
export const STATUS_TEXT = {
  400: "The request was invalid.",
  401: "Incorrect API key provided.",
  402: "Insufficient credits. Add more and try again.",
  403: "You do not have access to this resource.",
  404: "The model does not exist or you do not have access to it.",
  408: "The request timed out.",
  409: "The request conflicts with another one.",
  413: "The request is too large.",
  422: "The request could not be processed.",
  429: "Rate limit reached. Please try again later.",
  500: "The server had an error while processing your request.",
  502: "Bad gateway.",
  503: "The engine is currently overloaded. Please try again later.",
  504: "The upstream took too long to answer.",
  529: "Overloaded.",
};
