// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/top_screen.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <optional>

#include "tools/airctl/format.h"
#include "tools/airctl/stats.h"
#include "tools/airctl/table.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;

constexpr size_t kGatewayRows = 6;
constexpr size_t kProblemRows = 3;

// In at most six characters.
std::string Short(double value, const std::array<const char*, 5>& units, double step) {
  size_t unit = 0;
  while (value >= step && unit + 1 < units.size()) {
    value /= step;
    ++unit;
  }
  char text[32];
  snprintf(text, sizeof text, unit == 0 || value >= 99.95 ? "%.0f%s" : "%.1f%s", value,
           units[unit]);
  return text;
}
std::string ShortBytes(uint64_t bytes) {
  return Short(static_cast<double>(bytes), {"B", "K", "M", "G", "T"}, 1000);
}
std::string ShortCount(uint64_t count) {
  return Short(static_cast<double>(count), {"", "k", "M", "G", "T"}, 1000);
}
std::string ShortTime(uint64_t ns) {
  if (ns == 0) return "-";
  return Short(static_cast<double>(ns), {"ns", "us", "ms", "s", "s"}, 1000);
}
std::string ShortAge(uint64_t ms) {
  if (ms == 0) return "-";
  if (ms < 60'000) return std::to_string((ms + 999) / 1000) + "s";
  if (ms < 3'600'000) return std::to_string(ms / 60'000) + "m";
  return std::to_string(std::min<uint64_t>(ms / 3'600'000, 99999)) + "h";
}
std::string ShortPercent(int percent) { return percent < 0 ? "-" : std::to_string(percent) + "%"; }

// Bytes of what takes at most so many columns.
std::string Fitted(const std::string& text, size_t width) {
  std::string out;
  size_t used = 0;
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
    if (used == width) {
      // The last character gives way to a mark that something is missing.
      while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xc0) == 0x80) {
        out.pop_back();
      }
      if (!out.empty()) out.back() = '~';
      return out;
    }
    out.append(text, at, end - at);
    ++used;
    at = end;
  }
  return out + std::string(width - used, ' ');
}

struct Column {
  const char* title;
  size_t width;  // 0: what the others leave
  bool right;
  std::function<Cell(size_t row)> cell;
};

class Grid {
 public:
  Grid(size_t columns, bool colours) : columns_(columns), colours_(colours) {}
  // Left out where there is no room for it besides the others so far.
  void Add(const char* title, size_t width, std::function<Cell(size_t)> cell, size_t least = 0) {
    size_t used = width;
    for (const Column& column : shown_) used += (column.width == 0 ? least_ : column.width) + 1;
    if (width == 0) least_ = least;
    if (used > columns_) return;
    shown_.push_back({title, width, width != 0, std::move(cell)});
  }
  std::string Titles() const {
    return Painted(Line([](const Column& column) { return Cell(column.title); }), Colour::kBold,
                   colours_);
  }
  std::string Row(size_t row) const {
    return Line([row](const Column& column) { return column.cell(row); });
  }

 private:
  std::string Line(const std::function<Cell(const Column&)>& cell_of) const {
    size_t used = 0;
    for (const Column& column : shown_) used += column.width + 1;
    const size_t rest = columns_ + 1 - std::min(used, columns_);
    std::string out;
    for (const Column& column : shown_) {
      const size_t width = column.width == 0 ? rest : column.width;
      const Cell cell = cell_of(column);
      std::string text = Printable(cell.text);
      if (column.right && text.size() < width) text.insert(0, width - text.size(), ' ');
      if (!out.empty()) out += ' ';
      out += Painted(Fitted(text, width), cell.colour, colours_);
    }
    return out;
  }

  const size_t columns_;
  const bool colours_;
  size_t least_ = 0;
  std::vector<Column> shown_;
};

uint64_t PerSecond(uint64_t count, uint64_t interval_ms) {
  return interval_ms == 0 ? 0 : count * 1000 / interval_ms;
}

wire::LayerStats AllLayers(const wire::MountStats& mount) {
  wire::LayerStats all;
  for (const wire::LayerStats* part : {&mount.names(), &mount.opens(), &mount.reads()}) {
    all.set_passthrough(all.passthrough() + part->passthrough());
    all.set_memory(all.memory() + part->memory());
    all.set_file(all.file() + part->file());
    all.set_broker(all.broker() + part->broker());
  }
  return all;
}

std::vector<const wire::MountStats*> Sorted(const wire::StatsReport& report, const TopView& view) {
  std::vector<const wire::MountStats*> out;
  for (const wire::MountStats& mount : report.mounts()) out.push_back(&mount);
  const auto key = [&](const wire::MountStats& mount) -> uint64_t {
    switch (view.sort) {
      case SortBy::kP99:
        return mount.all().p99_ns();
      case SortBy::kHits:  // the worst first
        return static_cast<uint64_t>(101 - (HitPercent(AllLayers(mount)) + 101) % 102);
      case SortBy::kUnsent:
        return mount.unsent_bytes();
      case SortBy::kTraffic:
        return mount.read_bytes() + mount.written_bytes();
      default:
        return mount.requests();
    }
  };
  std::stable_sort(out.begin(), out.end(), [&](const auto* a, const auto* b) {
    if (view.sort != SortBy::kName && key(*a) != key(*b)) return key(*a) > key(*b);
    return a->mountpoint() < b->mountpoint();
  });
  if (view.reversed) std::reverse(out.begin(), out.end());
  return out;
}

const char* NameOf(SortBy sort) {
  switch (sort) {
    case SortBy::kP99:
      return "p99";
    case SortBy::kHits:
      return "misses";
    case SortBy::kUnsent:
      return "unsent";
    case SortBy::kTraffic:
      return "bytes";
    case SortBy::kName:
      return "name";
    default:
      return "requests";
  }
}

std::string Header(const wire::StatusResponse& status, const TopView& view) {
  const wire::BrokerInfo& broker = status.broker();
  return "airstored " + Printable(broker.version()) + "  up " + HumanDuration(broker.uptime_ms()) +
         "  memory " + HumanBytes(broker.rss_bytes()) + "  spool " +
         ShortBytes(broker.spool_bytes()) + "/" + ShortBytes(broker.spool_limit()) + "  by " +
         NameOf(view.sort) + (view.reversed ? ", reversed" : "") + (view.paused ? "  PAUSED" : "");
}

Grid MountGrid(const std::vector<const wire::MountStats*>& mounts, uint64_t ms,
               const TopView& view) {
  Grid grid(view.columns, view.colours);
  const auto number = [&](auto make) {
    return [&mounts, make](size_t row) { return Cell(make(*mounts[row])); };
  };
  grid.Add("MOUNT POINT", 0, number([](const auto& m) { return m.mountpoint(); }), 22);
  grid.Add("OPS/S", 6,
           number([ms](const auto& m) { return ShortCount(PerSecond(m.requests(), ms)); }));
  grid.Add("P50", 6, number([](const auto& m) { return ShortTime(m.all().p50_ns()); }));
  grid.Add("P99", 6, number([](const auto& m) { return ShortTime(m.all().p99_ns()); }));
  grid.Add("HIT", 4, number([](const auto& m) { return ShortPercent(HitPercent(AllLayers(m))); }));
  grid.Add("UNSENT", 6, [&mounts](size_t row) {
    const uint64_t bytes = mounts[row]->unsent_bytes();
    return Cell(ShortBytes(bytes), bytes == 0 ? Colour::kNone : Colour::kWarn);
  });
  grid.Add("AGE", 5, number([](const auto& m) { return ShortAge(m.oldest_unsent_ms()); }));
  grid.Add("READ/S", 6,
           number([ms](const auto& m) { return ShortBytes(PerSecond(m.read_bytes(), ms)); }));
  grid.Add("WRIT/S", 6,
           number([ms](const auto& m) { return ShortBytes(PerSecond(m.written_bytes(), ms)); }));
  grid.Add("NAMES", 5, number([](const auto& m) { return ShortPercent(HitPercent(m.names())); }));
  grid.Add("OPENS", 5, number([](const auto& m) { return ShortPercent(HitPercent(m.opens())); }));
  grid.Add("READS", 5, number([](const auto& m) { return ShortPercent(HitPercent(m.reads())); }));
  grid.Add("KERNEL", 6, number([ms](const auto& m) {
             return ShortCount(PerSecond(m.opens().passthrough(), ms));
           }));
  grid.Add("MEMORY", 6, number([ms](const auto& m) {
             return ShortCount(PerSecond(AllLayers(m).memory(), ms));
           }));
  grid.Add("FILE", 6,
           number([ms](const auto& m) { return ShortCount(PerSecond(AllLayers(m).file(), ms)); }));
  grid.Add("BROKER", 6, number([ms](const auto& m) {
             return ShortCount(PerSecond(AllLayers(m).broker(), ms));
           }));
  grid.Add("STATE", 10, [&mounts](size_t row) {
    const std::string& state = mounts[row]->state();
    return Cell(state, state == "ready" ? Colour::kGood : Colour::kBad);
  });
  grid.Add("WORKSPACE", 20, number([](const auto& m) { return m.workspace(); }));
  return grid;
}

Grid GatewayGrid(const wire::StatsReport& report, const TopView& view) {
  Grid grid(view.columns, view.colours);
  const uint64_t ms = report.interval_ms();
  const auto number = [&report](auto make) {
    return
        [&report, make](size_t row) { return Cell(make(report.sessions(static_cast<int>(row)))); };
  };
  grid.Add("WORKSPACE", 0, number([](const auto& s) { return s.workspace(); }), 16);
  grid.Add("STATE", 11, [&report](size_t row) {
    const std::string& state = report.sessions(static_cast<int>(row)).state();
    return Cell(state, state == "connected" ? Colour::kGood : Colour::kBad);
  });
  grid.Add("CALL/S", 6,
           number([ms](const auto& s) { return ShortCount(PerSecond(s.gateway_calls(), ms)); }));
  grid.Add("P50", 6, number([](const auto& s) { return ShortTime(s.answered_calls().p50_ns()); }));
  grid.Add("P99", 6, number([](const auto& s) { return ShortTime(s.answered_calls().p99_ns()); }));
  grid.Add("IN/S", 6,
           number([ms](const auto& s) { return ShortBytes(PerSecond(s.received_bytes(), ms)); }));
  grid.Add("OUT/S", 6,
           number([ms](const auto& s) { return ShortBytes(PerSecond(s.sent_bytes(), ms)); }));
  grid.Add("UNSENT", 6, number([](const auto& s) { return ShortBytes(s.unsent_bytes()); }));
  grid.Add("CHANGES", 7, number([](const auto& s) { return ShortCount(s.unsent_changes()); }));
  grid.Add("NO ANSWER", 9, number([](const auto& s) { return ShortCount(s.unanswered_calls()); }));
  grid.Add("GATEWAY", 40, number([](const auto& s) { return s.gateway(); }));
  return grid;
}

constexpr const char* kHelp[] = {
    "Keys",
    "  o  sort by requests a second          l  by the 99th percentile of latency",
    "  h  by misses, the worst first         u  by what is not at the gateway yet",
    "  t  by bytes read and written          n  by name",
    "  r  the other way round                space  pause",
    "  j, k  the next mounts, the earlier    ?  this page          q  leave",
    "",
    "Columns",
    "  HIT     what was answered without asking airstored: by the kernel, from shared",
    "          memory, from a cached file. What passthrough reads and writes is not",
    "          seen here at all. NAMES, OPENS, READS: of these alone",
    "  UNSENT  content that is not at the gateway yet, AGE of the oldest change",
    "  P50, P99  of requests in the frontend; of gateways: of calls",
};

}  // namespace

std::vector<std::string> DrawTop(const wire::StatusResponse& status,
                                 const wire::StatsReport& report, const TopView& view) {
  std::vector<std::string> lines;
  const auto add = [&](const std::string& text, Colour colour = Colour::kNone) {
    lines.push_back(Painted(Fitted(text, view.columns), colour, view.colours));
  };
  add(Header(status, view), Colour::kBold);
  size_t problems = 0;
  for (const wire::Problem& problem : status.problems()) {
    if (++problems > kProblemRows) break;
    add(Printable((problem.subject().empty() ? "" : problem.subject() + ": ") + problem.says()),
        Colour::kBad);
  }
  if (problems == 0) add("no problems", Colour::kGood);
  add("");
  if (view.help) {
    for (const char* line : kHelp) add(line);
  } else {
    const auto mounts = Sorted(report, view);
    const auto sessions = static_cast<size_t>(report.sessions_size());
    const size_t gateways = std::min(sessions, kGatewayRows);
    const Grid grid = MountGrid(mounts, report.interval_ms(), view);
    lines.push_back(grid.Titles());
    const size_t taken = lines.size() + (gateways == 0 ? 1 : gateways + 3);
    const size_t room = view.rows > taken ? view.rows - taken : 0;
    const size_t first = std::min(view.first, mounts.size() > room ? mounts.size() - room : 0);
    for (size_t i = first; i < std::min(mounts.size(), first + room); ++i) {
      lines.push_back(grid.Row(i));
    }
    if (gateways != 0) {
      while (lines.size() + gateways + 3 < view.rows) add("");
      add("");
      const Grid below = GatewayGrid(report, view);
      lines.push_back(below.Titles());
      for (size_t i = 0; i < gateways; ++i) lines.push_back(below.Row(i));
    }
  }
  while (lines.size() + 1 < view.rows) add("");
  lines.resize(view.rows - 1);
  add("sort: o requests  l p99  h misses  u unsent  t bytes  n name    ? help  q leave");
  return lines;
}

bool PressKey(char key, TopView* view) {
  const auto sort = [view](SortBy by) {
    view->sort = by;
    view->first = 0;
  };
  switch (key) {
    case 'q':
    case 'Q':
    case 3:  // Ctrl-C, in raw mode
      return false;
    case 'o':
      sort(SortBy::kRequests);
      break;
    case 'l':
      sort(SortBy::kP99);
      break;
    case 'h':
      sort(SortBy::kHits);
      break;
    case 'u':
      sort(SortBy::kUnsent);
      break;
    case 't':
      sort(SortBy::kTraffic);
      break;
    case 'n':
      sort(SortBy::kName);
      break;
    case 'r':
      view->reversed = !view->reversed;
      break;
    case ' ':
      view->paused = !view->paused;
      break;
    case '?':
      view->help = !view->help;
      break;
    case 'j':
      ++view->first;
      break;
    case 'k':
      if (view->first > 0) --view->first;
      break;
    default:
      break;
  }
  return true;
}

}  // namespace airstore::airctl
