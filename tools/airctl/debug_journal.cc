// SPDX-License-Identifier: Apache-2.0
//
// The journal is read from a copy: who opens one cuts off what is torn. Records are appended only,
// so the copy of one that is being written is an earlier state of it.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "broker/journal_records.h"
#include "tools/airctl/debug.h"
#include "tools/airctl/format.h"
#include "tools/airctl/json_output.h"
#include "tools/airctl/table.h"

namespace airstore::airctl {
namespace {

namespace wire = control::v1;
namespace fs = std::filesystem;

class Copy {
 public:
  explicit Copy(const std::string& of) {
    char pattern[] = "/tmp/airctl-journal-XXXXXX";
    if (mkdtemp(pattern) == nullptr) return;
    path_ = pattern;
    fs::copy(of, path_, fs::copy_options::recursive, failed_);
  }
  ~Copy() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  const std::string& path() const { return path_; }
  bool made() const { return !path_.empty() && !failed_; }

 private:
  std::string path_;
  std::error_code failed_;
};

const char* NameOf(uint16_t type) {
  using broker::RecordType;
  if (type == broker::Journal::kRewriteBegin) return "rewrite begins";
  if (type == broker::Journal::kRewriteEnd) return "rewrite ends";
  switch (static_cast<RecordType>(type)) {
    case RecordType::kMutation:
      return "mutation";
    case RecordType::kBatch:
      return "batch";
    case RecordType::kSettled:
      return "settled";
    case RecordType::kElided:
      return "elided";
    case RecordType::kAttached:
      return "attached";
    case RecordType::kDetached:
      return "detached";
    case RecordType::kDirty:
      return "dirty";
    case RecordType::kClean:
      return "clean";
    case RecordType::kInodes:
      return "inodes";
    case RecordType::kCounters:
      return "counters";
    case RecordType::kCut:
      return "cut";
    case RecordType::kWatch:
      return "watch";
    case RecordType::kLock:
      return "lock";
    case RecordType::kXattrs:
      return "xattrs";
    case RecordType::kVersion:
      return "version";
  }
  return "of a newer airstored";
}

bool ParseId(const std::string& hex, shm::SessionId* id) {
  if (hex.size() != 2 * id->size() || hex.find_first_not_of("0123456789abcdef") != hex.npos) {
    return false;
  }
  for (size_t i = 0; i < id->size(); ++i) {
    (*id)[i] = static_cast<uint8_t>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
  }
  return true;
}

void Read(const SessionDirectory& session, wire::JournalSession* to) {
  to->set_session(session.id);
  const Copy copy(session.path + "/journal");
  broker::JournalOptions options;
  if (!copy.made() || !ParseId(session.id, &options.session)) {
    to->set_problem("it cannot be read");
    return;
  }
  broker::Journal::End end;
  auto opened = broker::Journal::Open(
      copy.path(), options,
      [&](const broker::JournalRecord& record) {
        wire::JournalEntry* entry = to->add_records();
        entry->set_number(record.lsn);
        entry->set_type(NameOf(record.type));
        entry->set_bytes(record.payload.size());
      },
      &end);
  if (!opened) to->set_problem(opened.error().ToString());
  to->set_torn(end.damaged);
  to->set_incomplete(end.incomplete);
}

}  // namespace

Outcome<wire::JournalReport> LookAtJournals(const std::string& state_dir) {
  spdlog::set_level(spdlog::level::off);  // what the journal's code would say is in the report
  const auto sessions = SessionsIn(state_dir);
  if (!sessions.value) return sessions.failure;
  wire::JournalReport report;
  for (const SessionDirectory& session : *sessions.value) Read(session, report.add_sessions());
  return report;
}

std::optional<Failure> DebugJournal(const Invocation& asked, const Surroundings& around) {
  const auto report = LookAtJournals(StateDirectory(asked, around.getenv));
  if (!report.value) return report.failure;
  if (asked.json) {
    around.out << ToJson(*report.value) << "\n";
    return {};
  }
  for (const wire::JournalSession& session : report.value->sessions()) {
    around.out << "session " << Printable(session.session()) << ": " << session.records_size()
               << " records" << (session.torn() ? ", then one that is torn" : "")
               << (session.incomplete() ? ", and parts that cannot be read" : "")
               << (session.problem().empty() ? "" : ", " + Printable(session.problem())) << "\n";
    Table table({"NUMBER>", "TYPE", "BYTES>"});
    for (const wire::JournalEntry& entry : session.records()) {
      table.Add({std::to_string(entry.number()), entry.type(), std::to_string(entry.bytes())});
    }
    table.Print(around.out, around.colours);
  }
  if (report.value->sessions().empty()) around.out << "no sessions\n";
  return {};
}

}  // namespace airstore::airctl
