# frozen_string_literal: true

require "date"

class Mooring
  attr_reader :ship, :since

  def initialize(ship, since: Date.today)
    @ship = ship
    @since = since
  end

  def days
    (Date.today - since).to_i
  end

  def fee(rate: 14.5)
    return 0 if days.zero?

    days * rate
  end
end

moorings = %w[Seagull Marlin].map { |name| Mooring.new(name, since: Date.today - 3) }
moorings.each { |m| puts "#{m.ship}: #{m.fee} EUR" }
