// SPDX-License-Identifier: Apache-2.0
#include "tools/airctl/recover.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <filesystem>

#include "shm/base/fd.h"
#include "tools/airctl/client.h"
#include "tools/airctl/format.h"
#include "tools/airctl/json_output.h"
#include "tools/airctl/table.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;
using Trouble = std::optional<Failure>;

std::string PathOf(const wire::LostItem& item) {
  return item.path().empty() ? item.location() : item.path();
}

void Print(std::ostream& out, const wire::LostList& list, bool colours) {
  if (list.items().empty()) {
    out << "nothing was refused\n";
    return;
  }
  Table table({"ID", "WORKSPACE", "WHAT", "SIZE>", "ERROR", "WHEN", "PATH"});
  for (const wire::LostItem& item : list.items()) {
    table.Add({item.id(), item.workspace().empty() ? "-" : Printable(item.workspace()),
               Printable(item.what()), HumanBytes(item.bytes()),
               item.error() == 0 ? "-" : strerror(item.error()),
               item.time_ns() == 0 ? "-" : HumanTime(item.time_ns()), Printable(PathOf(item))});
  }
  table.Print(out, colours);
}

// The id makes it unique, the rest makes it legible.
std::string FileName(const wire::LostItem& item) {
  std::string name = std::filesystem::path(item.path()).filename().string();
  if (name.empty()) return item.id();
  size_t most = NAME_MAX - std::min<size_t>(item.id().size() + 1, NAME_MAX);
  if (name.size() > most) {
    while (most > 0 && (static_cast<unsigned char>(name[most]) & 0xC0) == 0x80) --most;
    name.resize(most);
  }
  return item.id() + "-" + name;
}

Trouble Export(BrokerClient& client, Progress& progress, const wire::LostItem& item,
               const std::string& to) {
  const UniqueFd file(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) {
    return Failure{errno == EEXIST ? wire::FAILURE_KIND_EXISTS : wire::FAILURE_KIND_HOST,
                   "create " + to + ": " + strerror(errno), "give another directory"};
  }
  uint64_t offset = 0;
  for (;;) {
    wire::Request request;
    request.mutable_lost_read()->set_id(item.id());
    request.mutable_lost_read()->set_offset(offset);
    const auto answer = client.Call(request, progress);
    Trouble trouble;
    if (!answer.value) {
      trouble = answer.failure;
    } else {
      const std::string& data = answer.value->lost_data().data();
      if (data.empty()) break;
      const ssize_t written =
          pwrite(file.get(), data.data(), data.size(), static_cast<off_t>(offset));
      if (written == static_cast<ssize_t>(data.size())) {
        offset += data.size();
        progress.Update("exporting " + Printable(PathOf(item)), offset, item.bytes());
        continue;
      }
      trouble = Failure{wire::FAILURE_KIND_HOST,
                        "write " + to + ": " + strerror(written < 0 ? errno : ENOSPC), ""};
    }
    unlink(to.c_str());
    return trouble;
  }
  if (fsync(file.get()) != 0) {
    return Failure{wire::FAILURE_KIND_HOST, "write " + to + ": " + strerror(errno), ""};
  }
  return {};
}

Outcome<wire::LostList> Chosen(BrokerClient& client, Progress& progress, const Invocation& asked) {
  wire::Request request;
  request.mutable_lost_list();
  auto answer = client.Call(request, progress);
  if (!answer.value) return answer.failure;
  if (asked.all_items) return std::move(*answer.value->mutable_lost());
  wire::LostList chosen;
  for (const std::string& id : asked.items) {
    const auto& items = answer.value->lost().items();
    const auto found = std::find_if(items.begin(), items.end(),
                                    [&](const wire::LostItem& item) { return item.id() == id; });
    if (found == items.end()) {
      return Failure{wire::FAILURE_KIND_NOT_FOUND, "there is no item " + id + " in lost+found",
                     "'airctl recover' lists what there is"};
    }
    *chosen.add_items() = *found;
  }
  return chosen;
}

Trouble ExportAll(BrokerClient& client, Progress& progress, const Invocation& asked,
                  const Surroundings& around, const wire::LostList& chosen) {
  std::error_code failed;
  std::filesystem::create_directories(asked.directory, failed);
  if (failed) {
    return Failure{wire::FAILURE_KIND_HOST, asked.directory + ": " + failed.message(), ""};
  }
  size_t without = 0;
  Trouble first;
  for (const wire::LostItem& item : chosen.items()) {
    if (!item.content()) {
      ++without;
      around.err << item.id() << ": " << item.what() << " of " << Printable(PathOf(item))
                 << " has no content"
                 << (item.what() == "leftover" ? "; it lies in " + Printable(item.location()) : "")
                 << "\n";
      continue;
    }
    const std::string to = asked.directory + "/" + FileName(item);
    if (const Trouble trouble = Export(client, progress, item, to)) {
      if (trouble->kind == wire::FAILURE_KIND_UNREACHABLE) return trouble;
      if (first) around.err << Printable(trouble->message) << "\n";
      if (!first) first = trouble;
      continue;
    }
    if (!asked.json) around.out << Printable(PathOf(item)) << " -> " << Printable(to) << "\n";
  }
  if (first || without == 0) return first;
  return Failure{wire::FAILURE_KIND_INTERNAL,
                 std::to_string(without) + (without == 1 ? " item has" : " items have") +
                     " no content that could be exported",
                 "see above, and 'airctl recover'"};
}

}  // namespace

Trouble Recover(const Invocation& asked, const Surroundings& around) {
  Progress progress("asking the broker", asked.verbose);
  auto client = BrokerClient::Connect(asked.socket);
  if (!client.value) return client.failure;
  if (!asked.export_items && !asked.discard_items) {
    wire::Request request;
    request.mutable_lost_list();
    const auto answer = client.value->Call(request, progress);
    if (!answer.value) return answer.failure;
    if (asked.json) {
      around.out << ToJson(answer.value->lost()) << "\n";
    } else {
      Print(around.out, answer.value->lost(), around.colours);
    }
    return {};
  }
  const auto chosen = Chosen(*client.value, progress, asked);
  if (!chosen.value) return chosen.failure;
  if (asked.export_items) {
    if (const Trouble trouble = ExportAll(*client.value, progress, asked, around, *chosen.value)) {
      return trouble;
    }
  } else {
    for (const wire::LostItem& item : chosen.value->items()) {
      wire::Request request;
      request.mutable_lost_discard()->set_id(item.id());
      const auto answer = client.value->Call(request, progress);
      if (!answer.value) return answer.failure;
      if (!asked.json) around.out << "discarded " << Printable(PathOf(item)) << "\n";
    }
  }
  if (asked.json) around.out << ToJson(*chosen.value) << "\n";
  return {};
}

}  // namespace airstore::airctl
