// SPDX-License-Identifier: Apache-2.0
#include "broker/journal.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "shm/base/fault.h"

namespace airstore::broker {
namespace {

constexpr char kPrefix[] = "segment-";
constexpr size_t kDigits = 16;
constexpr char kUnreadable[] = "unreadable-";

// Numbers of the segments in the directory, ascending.
std::vector<uint64_t> NumbersIn(const std::string& directory) {
  std::vector<uint64_t> numbers;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(kPrefix, 0) != 0) continue;
    const std::string digits = name.substr(sizeof(kPrefix) - 1);
    if (digits.size() != kDigits ||
        digits.find_first_not_of("0123456789abcdef") != std::string::npos) {
      continue;
    }
    numbers.push_back(std::stoull(digits, nullptr, 16));
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

bool AnyUnreadable(const std::string& directory) {
  std::error_code ignored;
  const std::filesystem::directory_iterator files(directory, ignored);
  return std::any_of(begin(files), end(files), [](const auto& entry) {
    return entry.path().filename().string().rfind(kUnreadable, 0) == 0;
  });
}

}  // namespace

std::string Journal::PathOf(uint64_t number) const {
  char name[sizeof(kPrefix) + kDigits];
  snprintf(name, sizeof(name), "%s%016llx", kPrefix, static_cast<unsigned long long>(number));
  return directory_ + "/" + name;
}

Result<std::unique_ptr<Journal>> Journal::Create(const std::string& directory,
                                                 const JournalOptions& options) {
  std::unique_ptr<Journal> journal(new Journal(directory, options));
  AIRSTORE_TRY(journal->StartSegment());
  return journal;
}

Result<std::unique_ptr<Journal>> Journal::Open(const std::string& directory,
                                               const JournalOptions& options, const Visit& visit,
                                               End* end) {
  std::unique_ptr<Journal> journal(new Journal(directory, options));
  *end = End{};
  bool reading = true;
  uint64_t expected = 0;
  const std::vector<uint64_t> numbers = NumbersIn(directory);
  for (const uint64_t number : numbers) {
    const std::string path = journal->PathOf(number);
    // Power was lost when the disk had the new segment's name and nothing else of it.
    if (number == numbers.back() && JournalSegment::IsBlank(path)) {
      if (unlink(path.c_str()) != 0) return SysError("remove " + path);
      continue;
    }
    std::unique_ptr<JournalSegment> segment;
    if (reading) {
      auto opened = JournalSegment::Open(path, options.session, number);
      if (!opened && opened.error().code == EPROTONOSUPPORT) return opened.error();
      const bool follows = opened && (expected == 0 || (*opened)->first_lsn() == expected);
      if (follows) {
        segment = std::move(*opened);
      } else {
        if (!opened) spdlog::error("{}", opened.error().ToString());
        reading = false;
        end->damaged = true;
      }
    }
    journal->next_number_ = number + 1;
    if (!segment) {
      // Behind a place that cannot be read nothing counts, but nothing is destroyed either.
      const std::string aside = directory + "/" + kUnreadable + std::to_string(number);
      if (rename(path.c_str(), aside.c_str()) != 0) return SysError("set aside " + path);
      spdlog::error("{} does not continue the journal; kept as {}", path, aside);
      continue;
    }
    if (expected == 0) expected = segment->first_lsn();
    uint64_t offset = JournalSegment::FirstOffset();
    while (const auto record = segment->Next(&offset, expected)) {
      visit(*record);
      ++expected;
    }
    end->damaged = end->damaged || !segment->EndsAt(offset);
    segment->CutTo(offset);
    journal->segments_.push_back({number, std::move(segment)});
  }
  journal->next_lsn_ = std::max<uint64_t>(expected, 1);
  journal->synced_lsn_ = 0;
  end->next_lsn = journal->next_lsn_;
  end->incomplete = AnyUnreadable(directory);
  AIRSTORE_TRY(journal->StartSegment());
  return journal;
}

Result<void> Journal::MakeSpare() {
  if (spare_) return {};
  auto made = JournalSegment::Create(SparePath(), options_.segment_bytes);
  if (!made) return made.error();
  spare_ = std::move(*made);
  return {};
}

// The new segment has its name when its header is whole.
Result<void> Journal::StartSegment() {
  AIRSTORE_TRY(MakeSpare());
  spare_->Format(options_.session, next_number_, next_lsn_);
  if (rename(SparePath().c_str(), PathOf(next_number_).c_str()) != 0) {
    return SysError("name " + PathOf(next_number_));
  }
  segments_.push_back({next_number_++, std::move(spare_)});
  Reach(FaultPoint::kJournalSegmentNamed);
  // Its absence is found by Admit.
  (void)MakeSpare();
  return {};
}

Result<void> Journal::Admit() {
  auto made = MakeSpare();
  if (made || current().room() > Reserve()) return {};
  return made;
}

Result<std::span<const uint8_t>> Journal::Append(uint16_t type, std::span<const uint8_t> payload) {
  const uint64_t bytes = JournalSegment::RecordBytes(payload.size());
  if (payload.size() > JournalSegment::MaxPayload(options_.segment_bytes)) {
    return Error{EMSGSIZE, "journal record"};
  }
  if (current().room() < bytes) AIRSTORE_TRY(StartSegment());
  if (const int error = Reach(FaultPoint::kJournalBeforeAppend)) return Error{error, "journal"};
  const uint8_t* at = current().Append(next_lsn_++, type, payload);
  appended_bytes_ += bytes;
  Reach(FaultPoint::kJournalAfterAppend);
  return std::span<const uint8_t>(at, payload.size());
}

Result<void> Journal::Rewrite(const std::function<Result<void>()>& append_live) {
  const size_t before = segments_.size();
  const uint64_t end = current().end();
  const uint64_t lsn = next_lsn_;
  Result<void> done;
  size_t first = before - 1;  // segment of the first mark
  if (auto begun = Append(kRewriteBegin, {}); !begun) {
    done = begun.error();
  } else {
    first = segments_.size() - 1;
    done = append_live();
    Reach(FaultPoint::kJournalRewriteUnended);
    if (done) {
      if (auto ended = Append(kRewriteEnd, {}); !ended) done = ended.error();
    }
  }
  if (!done) {
    while (segments_.size() > before) {
      unlink(PathOf(segments_.back().number).c_str());
      next_number_ = segments_.back().number;
      segments_.pop_back();
    }
    current().CutTo(end);
    next_lsn_ = lsn;
    // Before somebody else has the room: what settles the rest may need it.
    (void)MakeSpare();
    return done;
  }
  Reach(FaultPoint::kJournalRewritten);
  if (options_.keep_until_synced) {
    given_up_.push_back({segments_[first].number, next_lsn_});
  } else {
    ReleaseBefore(segments_[first].number);
  }
  return {};
}

// Oldest first: what is left after a death in between is still one journal.
void Journal::ReleaseBefore(uint64_t number) {
  while (segments_.front().number < number) {
    Numbered& oldest = segments_.front();
    const std::string path = PathOf(oldest.number);
    // The disk may see what a spare is overwritten with before it sees the new name.
    if (!spare_ && !options_.keep_until_synced &&
        oldest.segment->bytes() == options_.segment_bytes &&
        rename(path.c_str(), SparePath().c_str()) == 0) {
      spare_ = std::move(oldest.segment);
    } else {
      unlink(path.c_str());
    }
    segments_.pop_front();
  }
}

uint64_t Journal::OldBytes() const {
  uint64_t bytes = 0;
  const uint64_t needed_from = given_up_.empty() ? 0 : given_up_.back().needed_from;
  for (size_t i = 0; i + 1 < segments_.size(); ++i) {
    if (segments_[i].number >= needed_from) bytes += segments_[i].segment->bytes();
  }
  return bytes;
}

std::vector<UniqueFd> Journal::Unsynced() const {
  std::vector<UniqueFd> files;
  for (size_t i = 0; i < segments_.size(); ++i) {
    const bool last = i + 1 == segments_.size();
    const uint64_t behind = last ? next_lsn_ : segments_[i + 1].segment->first_lsn();
    if (behind > synced_lsn_)
      files.emplace_back(fcntl(segments_[i].segment->fd(), F_DUPFD_CLOEXEC, 0));
  }
  // The names of new segments.
  if (!files.empty()) {
    files.emplace_back(open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  return files;
}

void Journal::Synced(uint64_t lsn) {
  synced_lsn_ = std::max(synced_lsn_, lsn);
  while (!given_up_.empty() && synced_lsn_ >= given_up_.front().end_lsn) {
    ReleaseBefore(given_up_.front().needed_from);
    given_up_.pop_front();
  }
}

}  // namespace airstore::broker
