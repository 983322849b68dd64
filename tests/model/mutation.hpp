/// Mutants without switches in the code under test.
///
/// Idea: the model's `atomic` (atomic.hpp) reports every operation with its place in the source.
/// The first exploration records the places; each then gives rise to mutants, one change each:
///
///   weaker orders   seq_cst -> acquire, release or acq_rel;  acq_rel -> acquire and -> release;
///                   acquire, release -> relaxed
///   torn            a read-modify-write becomes a load and a store that others can come between
///
/// A mutant is named `function.operation change`, with `#2` and so on when a function has several
/// such operations, counted by line: `pop.cas release->relaxed`.  Logic mutants are named by the
/// model itself and asked for by `logic("name")`.
/// Uses no allocation: it runs inside the checker, which watches allocations.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

namespace magpie::model {

enum class operation { load, store, rmw, cas, cas_failure };

inline const char* name_of(operation kind) {
  constexpr const char* names[] = {"load", "store", "rmw", "cas", "cas-failure"};
  return names[static_cast<int>(kind)];
}

inline const char* name_of(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed:
      return "relaxed";
    case std::memory_order_acquire:
      return "acquire";
    case std::memory_order_release:
      return "release";
    case std::memory_order_acq_rel:
      return "acq_rel";
    default:
      return "seq_cst";
  }
}

/// One operation in the source.
struct site {
  std::source_location where;
  operation kind;
  std::memory_order order;
};

struct mutant {
  const site* at = nullptr;  // null for a logic mutant
  bool torn = false;
  std::memory_order weakened = std::memory_order_seq_cst;
  std::string name;
};

/// The places seen, and the mutant that is on.
class mutation_engine {
 public:
  /// The order to use at this place.
  std::memory_order order_at(operation kind, std::memory_order order,
                             const std::source_location& where) {
    const site* here = find(kind, order, where);
    return here == on_.at && !on_.torn ? on_.weakened : order;
  }

  bool torn_at(operation kind, std::memory_order order, const std::source_location& where) {
    return on_.torn && find(kind, order, where) == on_.at;
  }

  bool logic(std::string_view name) const { return on_.at == nullptr && name == on_name_; }

  void turn_on(const mutant& which) {
    on_ = which;
    on_name_ = on_.name;
  }
  void turn_off() { turn_on({.at = &nothing_, .name = {}}); }

  /// All order and tearing mutants of the places in files whose path ends in one of `files`.
  std::vector<mutant> mutants(const std::vector<std::string>& files) const {
    std::vector<const site*> chosen;
    for (const site& s : sites_) {
      const std::string_view path = s.where.file_name() == nullptr ? "" : s.where.file_name();
      if (!path.empty() && std::ranges::any_of(files, [&](const std::string& file) {
            return path.ends_with(file);
          })) {
        chosen.push_back(&s);
      }
    }
    std::ranges::sort(chosen, [](const site* a, const site* b) {
      const int order = std::strcmp(a->where.file_name(), b->where.file_name());
      return order != 0                               ? order < 0
             : a->where.line() != b->where.line()     ? a->where.line() < b->where.line()
             : a->where.column() != b->where.column() ? a->where.column() < b->where.column()
                                                      : a->kind < b->kind;
    });
    std::vector<mutant> all;
    std::vector<std::string> stems;
    for (const site* s : chosen) {
      std::string stem = function_of(*s) + "." + name_of(s->kind);
      stems.push_back(stem);
      const auto same = std::ranges::count(stems, stem);
      add_mutants_of(*s, same == 1 ? stem : stem + "#" + std::to_string(same), all);
    }
    return all;
  }

  std::size_t size() const { return count_; }

 private:
  const site* find(operation kind, std::memory_order order, const std::source_location& where) {
    std::size_t slot =
        (where.line() * 31 + where.column() * 7 + static_cast<unsigned>(kind)) % sites_.size();
    for (;; slot = (slot + 1) % sites_.size()) {
      site& s = sites_[slot];
      if (s.where.file_name() == nullptr || s.where.line() == 0) {
        if (++count_ > sites_.size() / 2) {
          std::fputs("model: too many atomic operations in the source\n", stderr);
          std::abort();
        }
        s = {where, kind, order};
        return &s;
      }
      if (s.where.line() == where.line() && s.where.column() == where.column() && s.kind == kind &&
          std::strcmp(s.where.file_name(), where.file_name()) == 0) {
        return &s;
      }
    }
  }

  /// "bool magpie::basic_local_queue<4>::push(...) [...]" -> "basic_local_queue::push"
  static std::string function_of(const site& s) {
    std::string name;
    int depth = 0;
    for (const char* c = s.where.function_name(); *c != '\0'; ++c) {
      if (*c == '(' && depth == 0) {
        break;
      }
      depth += *c == '<' ? 1 : 0;
      if (depth == 0) {
        name = *c == ' ' ? std::string() : name + *c;
      }
      depth -= *c == '>' ? 1 : 0;
    }
    while (std::ranges::count(name, ':') > 2) {
      name.erase(0, name.find("::") + 2);
    }
    return name;
  }

  static void add_mutants_of(const site& s, const std::string& stem, std::vector<mutant>& all) {
    const auto weaken = [&](std::memory_order order) {
      all.push_back({&s, false, order, stem + " " + name_of(s.order) + "->" + name_of(order)});
    };
    switch (s.order) {
      case std::memory_order_seq_cst:
        weaken(s.kind == operation::store ? std::memory_order_release
               : s.kind == operation::load || s.kind == operation::cas_failure
                   ? std::memory_order_acquire
                   : std::memory_order_acq_rel);
        break;
      case std::memory_order_acq_rel:
        weaken(std::memory_order_acquire);
        weaken(std::memory_order_release);
        break;
      case std::memory_order_relaxed:
        break;
      default:
        weaken(std::memory_order_relaxed);
    }
    if (s.kind == operation::rmw || s.kind == operation::cas) {
      all.push_back({&s, true, s.order, stem + " torn"});
    }
  }

  std::array<site, 512> sites_{};
  std::size_t count_ = 0;
  site nothing_{};  // what `at` points to when no mutant is on
  mutant on_{.at = &nothing_, .name = {}};
  std::string_view on_name_;
};

inline mutation_engine engine;

/// Whether the logic mutant of this name is on.
inline bool logic(std::string_view name) { return engine.logic(name); }

}  // namespace magpie::model
