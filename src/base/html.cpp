#include "base/html.h"

namespace tenon {

std::string escaped_html(std::string_view text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  return out;
}

std::string html_page(std::string_view title, std::string_view styles, std::string_view body) {
  const std::string heading = escaped_html(title);
  std::string page = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>";
  page += heading;
  page +=
      "</title><style>body{font:15px/1.5 sans-serif;margin:2em auto;max-width:64em;padding:0 1em;"
      "color:#222}table{border-collapse:collapse;margin:.5em 0 1em}td,th{padding:.15em .6em;"
      "text-align:right;border-bottom:1px solid #ddd}svg text{font-size:12px;fill:#444}"
      ".right{text-anchor:end}.middle{text-anchor:middle}";
  page.append(styles).append("</style></head><body><h1>").append(heading).append("</h1>");
  return page.append(body).append("</body></html>\n");
}

}  // namespace tenon
